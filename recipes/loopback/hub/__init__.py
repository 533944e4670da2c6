"""A Hub on loopback: the Hugging Face Hub's HTTP API over real git repositories, with faults to order.

    python -m recipes.loopback.hub --root build/hub --port 8094 --user me:hf_me --org team:me --xet
    HF_ENDPOINT=http://127.0.0.1:8094 HF_TOKEN=hf_me NAMESPACE=me make release

Every repository is a git repository at ROOT/{models,datasets,spaces}/NS/NAME/.git with LFS objects at .git/lfs/objects,
so `git log` and `git fsck` can read what was pushed. A second listener plays the storage host: it refuses any request
that carries an Authorization header. With Xet on, tokens name a `local://` directory, in which the released hf_xet
wheel keeps its own content-addressed store (undocumented: the wheel is pinned). Binds 127.0.0.1 only.
"""
