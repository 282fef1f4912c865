"""``python -m authapp`` is the command ``authapp``."""

from authapp.cli import main

if __name__ == "__main__":
    main()
