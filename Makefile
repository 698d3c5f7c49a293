# Each target is one line onto vagrant/lab.py, which also runs by hand where there is no make.
PYTHON ?= python3

.PHONY: help lab test test-all test-fast ssh check course goto stop destroy uninstall

help:      ; @$(PYTHON) vagrant/lab.py help
lab:       ; @$(PYTHON) vagrant/lab.py lab
test:      ; @$(PYTHON) vagrant/lab.py test $(PART)
test-all:  ; @$(PYTHON) vagrant/lab.py test --all $(PART)
test-fast: ; @$(PYTHON) vagrant/lab.py test-fast
ssh:       ; @$(PYTHON) vagrant/lab.py ssh $(HOST)
check:     ; @$(PYTHON) vagrant/lab.py check $(ARGS)
course:    ; @$(PYTHON) vagrant/lab.py course $(CHAPTERS)
goto:      ; @$(PYTHON) vagrant/lab.py goto $(CHAPTER)
stop:      ; @$(PYTHON) vagrant/lab.py stop
destroy:   ; @$(PYTHON) vagrant/lab.py destroy
uninstall: ; @$(PYTHON) vagrant/lab.py uninstall
