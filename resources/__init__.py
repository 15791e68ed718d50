"""How the outside is reached: sources, store, launcher, registry. Never imports ft_assets."""
