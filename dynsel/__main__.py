"""`python -m dynsel`: the command where no script was installed, as on a checkout that is only on the path."""

import sys

from dynsel.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
