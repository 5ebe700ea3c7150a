"""The client's GraphQL: one schema file, resolvers over the store."""
