"""The pipeline once more, with RabbitMQ as the broker."""
