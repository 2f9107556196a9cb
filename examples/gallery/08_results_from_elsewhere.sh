# Results of others beside ours: a CSV of their points, marked as imported; and a second folder.
lic-bench run -c jpeg -d sample --images 2 -p 10,20,40,60,80 --quiet
lic-bench import theirs.csv
lic-bench table --anchor jpeg
lic-bench run -c webp -d sample --images 2 -p 0,10,35,65,85 -o results/cluster --quiet
lic-bench plot here=results/mine there=results/cluster -o both.png
lic-bench merge results/mine results/cluster -o results/all
