from ops.settings import Settings
from ops.stack.errors import StackError
from ops.stack.info import read_info
from ops.stack.layout import Layout


def running_settings() -> Settings:
    """Return the environment's settings; without a database in them, that of the stack that runs here."""
    settings = Settings()
    if settings.database_url:
        return settings
    try:
        info = read_info(Layout.of(settings.var_dir).info)
    except StackError:
        return settings
    return settings.model_copy(update={"database_url": info.database_url})
