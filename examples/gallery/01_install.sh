# Install lic-bench from this checkout, see what is ready, and measure for the first time.
#
#     sh examples/gallery/01_install.sh              # options go to pip
#
# The environment `.venv` and the results are made in the current folder. The data set "sample" comes
# along: nothing need be fetched.
set -e
checkout=$(cd "$(dirname "$0")/../.." && pwd)
python3 -m venv .venv
# "$checkout[all]" for every codec
.venv/bin/python -m pip install --quiet -c "$checkout/constraints.txt" "$@" -e "$checkout"
.venv/bin/lic-bench --version
.venv/bin/lic-bench codecs
.venv/bin/lic-bench datasets
.venv/bin/lic-bench run --codecs jpeg --dataset sample --points 10,30,60,90
