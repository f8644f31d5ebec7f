"""`python -m miren.schemagen generate|check|language`: for the time before there are any kinds."""

import sys

from miren.schemagen.main import main

sys.exit(main())
