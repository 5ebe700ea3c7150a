"""Filters, orders and patterns of the client: compiled to SQL, or matched over values at hand."""
