"""MiniCPM-V-2.6 in transformers' own terms, in the layout of its Hub repository, without remote code."""
