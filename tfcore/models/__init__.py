"""The models: one module each, with a frozen `Config`, `init(seed, config)` and `forward(config, ...)`."""
