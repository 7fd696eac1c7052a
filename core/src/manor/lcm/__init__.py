"""The life of network services: plan, operations, apply, recovery; and the runtime that ties them together."""
