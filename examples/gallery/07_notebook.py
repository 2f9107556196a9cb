# %% [markdown]
# A notebook's cells: jupytext, VS Code, Spyder and PyCharm open this file as a notebook.

# %% Measure; what the folder holds already is not measured again
import lic_bench

points = {"jpeg": [10, 20, 40, 60, 80], "webp": [0, 10, 35, 65, 85]}
table = lic_bench.run(["jpeg", "webp"], "sample", images=3, points=points, out="results/notebook")
table.groupby("codec")[["bpp", "psnr_rgb_db"]].describe()

# %% It is a pandas DataFrame: points are numbers, and any selection has curves of its own
middle = table[(table["point"] >= 10) & (table["image"] != "coffee.png")]
lic_bench.bd_rates(table, anchor="jpeg")
lic_bench.aggregate(middle)[["codec", "point", "images", "bpp", "psnr_rgb_db"]]

# %% Two codecs, with a confidence interval and each image
found = lic_bench.compare(table, "jpeg", "webp")
print(found)
found.per_image

# %% A figure that more can be drawn in
axes = lic_bench.plot(table, metric="ms_ssim_rgb")
axes.axvline(1, color="0.7", linewidth=0.8)
lic_bench.save_plot(axes, "notebook.png")

# %% Tables, as a notebook shows them and as LaTeX
paper = lic_bench.table(table, anchor="jpeg", interval=True)
print(paper.latex())
