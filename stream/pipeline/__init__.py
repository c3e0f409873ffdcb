"""The pipeline of a link: from closed bins to forecasts and commands."""
