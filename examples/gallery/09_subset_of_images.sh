# Some of the images only: known as such, so that nobody takes them for the whole data set.
lic-bench run -c jpeg -d sample --images 2 -p 10,20,40,60,80 --dry-run
lic-bench run -c jpeg -d sample --images 2 -p 10,20,40,60,80
# All four now: the two that are known are not measured again.
lic-bench run -c jpeg -d sample -p 10,20,40,60,80
lic-bench table -d sample-2of4 --by-point
lic-bench export -d sample -p 40 -o -
