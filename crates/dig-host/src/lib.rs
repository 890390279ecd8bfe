//! FileHost: a registry of shared content, announced, re-announced, served and withdrawn.
