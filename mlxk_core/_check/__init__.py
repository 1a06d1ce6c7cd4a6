"""The deep check of plugins: everything they provide is loaded and tried."""
