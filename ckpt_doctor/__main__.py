"""`python -m ckpt_doctor`."""

import sys

from ckpt_doctor.cli.main import main

sys.exit(main())
