# Install lic-bench, see what is ready here, and measure for the first time.
#
#     python3 -m venv .venv && . .venv/bin/activate
#     pip install -c constraints.txt -e .        # in a checkout; -e '.[all]' for every codec
#
# The data set "sample" comes along: nothing need be fetched.
lic-bench --version
lic-bench codecs
lic-bench datasets
lic-bench run --codecs jpeg --dataset sample --points 10,30,60,90
