"""The teachers that the operator has configured, as both the API and the workers see them."""
