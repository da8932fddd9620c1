"""Makes the environment: Python packages and Delta's jars."""
