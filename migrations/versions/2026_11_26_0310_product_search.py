"""The index of the catalogue: what products say in English and Spanish, and by what a search can be narrowed."""

from alembic import op

revision = "product_search"
down_revision = "product_details"


def upgrade() -> None:
    _extensions_and_languages()
    _walk()
    _columns()
    _words()


def _extensions_and_languages() -> None:
    """Both extensions are trusted: whoever may create in the database may create them."""
    op.execute(
        """
        CREATE EXTENSION IF NOT EXISTS unaccent;
        CREATE EXTENSION IF NOT EXISTS pg_trgm;

        CREATE TEXT SEARCH CONFIGURATION product_en (COPY = pg_catalog.english);
        ALTER TEXT SEARCH CONFIGURATION product_en
            ALTER MAPPING FOR hword, hword_part, word WITH unaccent, english_stem;
        CREATE TEXT SEARCH CONFIGURATION product_es (COPY = pg_catalog.spanish);
        ALTER TEXT SEARCH CONFIGURATION product_es
            ALTER MAPPING FOR hword, hword_part, word WITH unaccent, spanish_stem;
        -- Whole words, for spelling.
        CREATE TEXT SEARCH CONFIGURATION product_words (COPY = pg_catalog.simple);
        ALTER TEXT SEARCH CONFIGURATION product_words
            ALTER MAPPING FOR hword, hword_part, word WITH unaccent, simple;
        """
    )


def _walk() -> None:
    """See ADR 0007: how a search reads the newest matches alone, however many there are."""
    op.execute(
        """
        -- Covers the positions from `newest` down to `oldest` with blocks, newest first: at least four of 1,024
        -- positions, then of four times as many each, up to 65,536. So a block is never larger than what was
        -- walked before it, and there are few. `key` is its key in search_keys, `top` its highest position.
        CREATE FUNCTION product_blocks(newest bigint, oldest bigint)
            RETURNS TABLE (n integer, key text, top bigint)
            LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE ROWS 32 AS $$
        DECLARE
            level integer := 0;
            size bigint := 1024;
            block bigint := newest / 1024;
            taken integer := 0;
        BEGIN
            n := 0;
            WHILE block >= 0 AND (block + 1) * size > oldest LOOP
                n := n + 1;
                key := level || ':' || block;
                top := (block + 1) * size - 1;
                RETURN NEXT;
                taken := taken + 1;
                block := block - 1;
                IF (block + 1) % 4 = 0 AND taken >= 4 AND level < 3 THEN
                    level := level + 1;
                    size := size * 4;
                    block := (block + 1) / 4 - 1;
                    taken := 0;
                END IF;
            END LOOP;
        END $$;

        -- Bands of about 13 %, so that a range of prices is a few keys. Who asks compares the prices as well.
        CREATE FUNCTION product_price_band(price_minor bigint) RETURNS integer
            LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
            RETURN floor(8 * ln(price_minor::float8))::integer;
        """
    )


def _columns() -> None:
    op.execute(
        """
        -- Generated columns are computed again only when a column that they read is written: taking stock
        -- computes no vector.
        ALTER TABLE products
            ADD COLUMN position bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT products_position_key UNIQUE,
            ADD COLUMN search_en tsvector GENERATED ALWAYS AS (
                setweight(to_tsvector('product_en', title), 'A')
                || setweight(to_tsvector('product_en', category), 'B')
                || setweight(jsonb_to_tsvector('product_en', attributes, '["string"]'), 'C')
                || setweight(to_tsvector('product_en', description), 'D')) STORED,
            ADD COLUMN search_es tsvector GENERATED ALWAYS AS (
                setweight(to_tsvector('product_es', title), 'A')
                || setweight(to_tsvector('product_es', category), 'B')
                || setweight(jsonb_to_tsvector('product_es', attributes, '["string"]'), 'C')
                || setweight(to_tsvector('product_es', description), 'D')) STORED;
        ALTER TABLE products
            ADD COLUMN search_keys text[] GENERATED ALWAYS AS (ARRAY[
                'category:' || category,
                'seller:' || seller_id::text,
                'currency:' || currency,
                'stock:' || CASE WHEN stock > 0 THEN 'some' ELSE 'none' END,
                'price:' || product_price_band(price_minor)::text,
                '0:' || (position / 1024)::text,
                '1:' || (position / 4096)::text,
                '2:' || (position / 16384)::text,
                '3:' || (position / 65536)::text]) STORED;

        -- Room in each page for the next version of a row: stock changes often, and then no index is touched.
        ALTER TABLE products SET (fillfactor = 90);
        -- For lists that are sorted by price.
        DROP INDEX products_seller_id_idx;
        CREATE INDEX products_price_idx ON products (price_minor, id) WHERE withdrawn_at IS NULL;
        CREATE INDEX products_category_price_idx ON products (category, price_minor, id)
            WHERE withdrawn_at IS NULL;
        CREATE INDEX products_seller_price_idx ON products (seller_id, price_minor, id)
            WHERE withdrawn_at IS NULL;
        -- Without a list of pending entries, which every search would have to read to its end.
        CREATE INDEX products_search_idx ON products USING gin (search_en, search_es, search_keys)
            WITH (fastupdate = off) WHERE withdrawn_at IS NULL;
        """
    )


def _words() -> None:
    op.execute(
        """
        -- The words of titles and categories, among which a misspelt one is looked for. None is ever forgotten.
        CREATE TABLE search_words (word text PRIMARY KEY);
        CREATE INDEX search_words_trigrams_idx ON search_words USING gin (word gin_trgm_ops)
            WITH (fastupdate = off);
        GRANT SELECT, INSERT ON search_words TO marketflow_app;

        -- Sorted, so that two transactions with the same new words wait for each other in one order.
        CREATE FUNCTION learn_words(texts text[]) RETURNS void LANGUAGE sql
        BEGIN ATOMIC
            INSERT INTO search_words (word)
            SELECT DISTINCT w.lexeme
            FROM unnest(texts) AS said (text), unnest(to_tsvector('product_words', said.text)) AS w
            WHERE w.lexeme ~ '^[[:alpha:]]{4,30}$'
            ORDER BY w.lexeme
            ON CONFLICT DO NOTHING;
        END;
        CREATE FUNCTION learn_words_of_products() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                PERFORM learn_words(array_agg(title || ' ' || category)) FROM new_rows;
            ELSE
                PERFORM learn_words(ARRAY[NEW.title || ' ' || NEW.category]);
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER products_learn_words AFTER INSERT ON products
            REFERENCING NEW TABLE AS new_rows
            FOR EACH STATEMENT EXECUTE FUNCTION learn_words_of_products();
        -- A row trigger: the columns that it names keep it away from changes of stock.
        CREATE TRIGGER products_learn_new_words AFTER UPDATE OF title, category ON products
            FOR EACH ROW WHEN (NEW.title <> OLD.title OR NEW.category <> OLD.category)
            EXECUTE FUNCTION learn_words_of_products();
        SELECT learn_words(array_agg(title || ' ' || category)) FROM products;

        -- For each given word that is in no title: the words in which two neighbours have changed places, of whose
        -- trigrams too few may be left, then the words with the most trigrams in common. Who asks counts the
        -- letters that differ. Calling similarity() loads the library that knows the setting.
        SELECT similarity('', '');
        CREATE FUNCTION near_words(given text[]) RETURNS TABLE (given_word text, plain text, near text[])
            LANGUAGE sql STABLE STRICT SET pg_trgm.similarity_threshold = 0.25
        BEGIN ATOMIC
            SELECT g.word, p.plain, ARRAY(
                SELECT s.word FROM search_words s
                WHERE s.word IN (
                    SELECT overlay(p.plain PLACING reverse(substr(p.plain, i, 2)) FROM i FOR 2)
                    FROM generate_series(1, length(p.plain) - 1) AS i)
                ORDER BY s.word
            ) || ARRAY(
                SELECT s.word FROM search_words s
                WHERE s.word % p.plain AND length(s.word) BETWEEN length(p.plain) - 2 AND length(p.plain) + 2
                ORDER BY similarity(s.word, p.plain) DESC, s.word LIMIT 50)
            FROM unnest(given) WITH ORDINALITY AS g (word, n),
                LATERAL (SELECT unaccent(lower(g.word)) AS plain) AS p
            WHERE NOT EXISTS (SELECT FROM search_words s WHERE s.word = p.plain)
            ORDER BY g.n;
        END;
        """
    )
