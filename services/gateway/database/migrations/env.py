"""How Alembic runs our migrations: on the connection that it is handed, in that connection's transaction."""

from alembic import context

from services.gateway.database.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="gateway_schema",
    transactional_ddl=True,
)
context.run_migrations()
