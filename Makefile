# Two commands do all the set-up: `make demo` and `make test`. PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check bench clean

demo: $(READY)
	rm -rf demo
	$(BIN)/residuum train digits --model resnet20 --out demo
	$(BIN)/residuum evaluate demo/model.safetensors digits
	$(BIN)/residuum predict demo/model.safetensors examples/digit.png
	@echo "model file  demo/model.safetensors"
	@echo "report      demo/report.html"

test: $(READY)
	$(BIN)/pytest -n auto

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# the peer is installed without what it asks for: torch is there, and its compiled half is not needed
bench: $(READY)
	$(BIN)/pip install --quiet --no-deps torchvision==0.28.0
	$(BIN)/python benchmarks/everything.py

# torch's range keeps out releases that bring gigabytes of CUDA where pip is set up for CPU builds
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all]'
	touch $@

clean:
	rm -rf $(VENV) demo
