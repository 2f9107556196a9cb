# `make run` and `make test` need Python 3.11 or newer and the package registry, nothing else.
# Python 3.12 and 3.11 come first: CompressAI has no wheels for later ones.

PYTHON ?= $(shell for python in python3.12 python3.11 python3.13 python3 python; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PAGES := lic_bench/reporting/page lic_bench/rating/page
# One process more than there are cores (tests/conftest.py). Who has none left takes over tests that
# others have not begun; those of a file mostly stay together, and share their fixtures.
TOGETHER := -n auto --dist worksteal

# Half of the time that tests take to begin goes for compiling their modules, where nothing is kept.
export PYTHONDONTWRITEBYTECODE =

.PHONY: run test quick check format docs results results-field results-jpeg-ai results-large bench clean

run: $(VENV)/run.stamp  ## measure every codec that works here on the embedded photographs
	$(BIN)/lic-bench run --codecs all --dataset sample

test: check  ## the linters and every test
	$(BIN)/python -m pytest $(TOGETHER)

# Without the trained codecs, the import of whose libraries alone takes longer than most tests, and
# without what tries the workers: each such test starts processes, and waits for some.
LONGER := compressai content_weighted torch hostile terminal matching runs decodes confinement timing \
	two_processes programs import metric_plugins metric_contract
quick: $(VENV)/dev.stamp  ## the tests that take moments: no training, browser, cluster or attack
	$(BIN)/ruff check
	$(BIN)/python -m pytest $(TOGETHER) -m "not slow" --ignore tests/learned --ignore tests/fuzz \
		$(foreach name,$(LONGER),--ignore-glob '*/test_$(name)*')

check: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
# Neither mypy nor import-linter follows the mapping of codecs/ and datasets/ into the package: they
# get them in place.
	rm -rf build/typed && mkdir -p build/typed && cp -r lic_bench build/typed
	cp -r codecs datasets build/typed/lic_bench
	MYPYPATH=build/typed $(BIN)/mypy
	cd build/typed && ../../$(BIN)/lint-imports ../../pyproject.toml --no-cache
# A page's scripts share one scope, and are linted as the one script that it holds.
	$(BIN)/oxfmt --check $(PAGES)
	for room in reporting rating; do \
		$(BIN)/python -c "from lic_bench.$$room.page.html import script; print(script())" > build/$$room.js && \
		$(BIN)/oxlint build/$$room.js || exit; \
	done

format: $(VENV)/dev.stamp
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/oxfmt $(PAGES)

# A warning fails it. Material for MkDocs tells of its successor at every start.
docs: $(VENV)/docs.stamp  ## the documentation as a site: build/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# What results/kodak shows. CompressAI's models want their weights in torch's cache, or the network:
# quality 2 alone was there when they were made.
CODECS := content-weighted,content-weighted:metric=mse,jpeg,jpeg2000,webp,avif,hevc,heif,jpegxl,compressai
PERCEPTUAL := ssimulacra2,butteraugli,lpips,psnr_hvs,vif,fsim,nlpd,iw_ssim,gmsd,haarpsi,vmaf
results: $(VENV)/dev.stamp  ## our published results on Kodak: an hour with two cores
	$(BIN)/lic-bench run --codecs $(CODECS) --points compressai=2 --dataset kodak --out results/kodak
	$(BIN)/lic-bench measure results/kodak --metrics $(PERCEPTUAL)
	for metric in psnr_rgb ms_ssim_rgb ssim_y; do \
		$(BIN)/lic-bench plot results/kodak --metric $$metric --xlim 0,2 --wide --published vtm \
			--out results/kodak/$$metric.png || exit; \
	done
	$(BIN)/lic-bench table results/kodak --anchor jpeg2000 --interval \
		--metric psnr_rgb,ssim_y,ms_ssim_rgb --out results/kodak/bd-rates.md
	$(BIN)/lic-bench table results/kodak --by-point --metric all --out results/kodak/points.csv
	$(BIN)/lic-bench plot results/kodak --by-metric --anchor jpeg2000 --out results/kodak/by-metric.png
	$(BIN)/lic-bench report results/kodak --published vtm

# What results/field shows: the learned codecs of 2017 to 2020, beside what is known of them.
FIELD := cae-pca,compressive-autoencoder,entropy-autoencoder,modulated-autoencoder,nctu,recurrent
BESIDE := content-weighted,content-weighted:metric=mse,jpeg,jpeg2000
CODERS := entropy-autoencoder:coder=factorised,entropy-autoencoder:coder=histogram
KNOWN := theis-2017-iclr@tfc,toderici-2017-cvpr@tfc
SIX := 1,3,5,7,9,11
results-field: $(VENV)/dev.stamp  ## the field of 2017 to 2020 on Kodak: half an hour with two cores
	$(BIN)/lic-bench run --codecs $(FIELD),$(BESIDE),$(CODERS) --dataset kodak --out results/field \
		--points content-weighted=$(SIX) --points content-weighted:metric=mse=$(SIX) \
		--points cae-pca=6:16:2 --points recurrent=2:16:2
	for metric in psnr_rgb ms_ssim_rgb; do \
		$(BIN)/lic-bench plot results/field --codecs $(FIELD),$(BESIDE) --metric $$metric --xlim 0,1 --wide \
			--published $(KNOWN) --out results/field/$$metric.png || exit; \
	done
	$(BIN)/lic-bench table results/field --codecs $(FIELD),$(BESIDE) --anchor jpeg --interval \
		--metric psnr_rgb,ms_ssim_rgb --out results/field/bd-rates.md
	$(BIN)/lic-bench table results/field --codecs compressive-autoencoder,entropy-autoencoder,$(CODERS) \
		--anchor compressive-autoencoder --interval --metric psnr_rgb --out results/field/coders.md
	$(BIN)/lic-bench table results/field --by-point --metric all --out results/field/points.csv

# What results/jpeg-ai shows: half of Kodak, for the time that vvc takes.
AGAINST_VVC := content-weighted,content-weighted:metric=mse,jpeg,jpeg2000,webp,avif,hevc,heif,jpegxl
results-jpeg-ai: $(VENV)/dev.stamp  ## JPEG AI's test conditions on 12 images: twenty minutes with two cores
	$(BIN)/lic-bench run --profile jpeg-ai --codecs $(AGAINST_VVC) --dataset kodak --images 12 \
		--out results/jpeg-ai

# What results/clic2025-valid shows: images that no manifest knows, in a folder of that name.
LARGE := content-weighted,content-weighted:metric=mse,jpeg,jpeg2000,webp
FOUR := 1,5,9,11
results-large: $(VENV)/dev.stamp  ## the same on 14 large images: a quarter of an hour
	@test -d "$(LIC_BENCH_DATA)/clic2025-valid" || { echo "LIC_BENCH_DATA names no folder with clic2025-valid"; exit 1; }
	$(BIN)/lic-bench run --codecs $(LARGE) --points content-weighted=$(FOUR) \
		--points content-weighted:metric=mse=$(FOUR) --dataset $(LIC_BENCH_DATA)/clic2025-valid \
		--out results/clic2025-valid
	for metric in psnr_rgb ms_ssim_rgb ssim_y; do \
		$(BIN)/lic-bench plot results/clic2025-valid --metric $$metric --xlim 0,0.6 --wide \
			--out results/clic2025-valid/$$metric.png || exit; \
	done
	$(BIN)/lic-bench table results/clic2025-valid --anchor jpeg2000 --interval \
		--metric psnr_rgb,ssim_y,ms_ssim_rgb --out results/clic2025-valid/bd-rates.md
	$(BIN)/lic-bench table results/clic2025-valid --by-point --metric all --out results/clic2025-valid/points.csv

bench: $(VENV)/dev.stamp  ## against CompressAI's bench, and what the harness itself costs
	$(BIN)/python tests/benchmarks/against_compressai.py
	$(BIN)/python tests/benchmarks/harness.py

# In chunks: a seed of its own for each, and a process that ends.
fuzz: $(VENV)/dev.stamp  ## a million hostile stores, imports, headers of weights: ten minutes
	for seed in 1 2 3 4 5 6 7 8 9 10; do \
		$(BIN)/python tests/fuzz/fuzz.py --inputs 100000 --seed $$seed || exit; \
	done

# What development installs, held to versions and to the SHA-256 of each file that the registry has.
LOCK := requirements/dev.txt
lock: build/tools/stamp  ## write requirements/dev.txt anew, with what is newest
	build/tools/bin/uv pip compile pyproject.toml --extra dev --extra all -c constraints.txt --universal \
		--python-version 3.11 --generate-hashes --upgrade --quiet --no-header -o $(LOCK)

# torch of the registry itself: on Linux with CUDA, of several GB.
locked: $(VENV)/bin/python  ## what make test needs, as requirements/dev.txt has it, by its hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(VENV)/run.stamp $(VENV)/dev.stamp

# Exit code 1 where a weakness is known; without the network it says so, and goes on.
audit:  ## weaknesses that the registry knows of what requirements/dev.txt holds
	@if $(MAKE) --silent build/tools/stamp; then build/tools/bin/python tests/audit.py $(LOCK); \
	else echo "Not audited: pip-audit cannot be installed"; fi

build/tools/stamp: $(VENV)/bin/python
	$(BIN)/python -m venv build/tools
	build/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "lic-bench needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[learned,compressai,hevc,heif,jpegxl]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,all]'
	touch $@
