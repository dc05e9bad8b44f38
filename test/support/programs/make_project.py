"""Writes a C program of some dozens of files with a makefile: make_project.py DIRECTORY UNITS"""
import os
import sys

root, units = sys.argv[1], int(sys.argv[2])


def write(name, text):
    os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
    with open(os.path.join(root, name), "w") as file:
        file.write(text)


write("include/common.h", "#define SCALE 3\nunsigned mix(unsigned value);\n")
write("src/mix.c", '#include "common.h"\nunsigned mix(unsigned value) { return value * 2654435761u + SCALE; }\n')
for n in range(units):
    write(f"include/unit{n}.h", f'#include "common.h"\nunsigned unit{n}(unsigned value);\n')
    # Tables make the object files, and what is linked of them, of some size.
    table = ", ".join(str((n * 7919 + i * 104729) % 65521) for i in range(500))
    write(f"src/unit{n}.c", f"""#include <stdio.h>
#include <stdlib.h>
#include "unit{n}.h"
static const unsigned table[] = {{ {table} }};
unsigned unit{n}(unsigned value) {{
  for (unsigned i = 0; i < 500; i++) value = mix(value ^ table[i]);
  return value;
}}
""")
calls = "\n".join(f"  value = unit{n}(value);" for n in range(units))
includes = "\n".join(f'#include "unit{n}.h"' for n in range(units))
write("src/main.c", f"""#include <stdio.h>
{includes}
int main(void) {{
  unsigned value = 1;
{calls}
  printf("%u\\n", value);
}}
""")
write("makefile", """objects := $(patsubst src/%.c,build/%.o,$(filter-out src/main.c,$(wildcard src/*.c)))

program: build/main.o libunits.a
	@echo linking $@
	@gcc -o $@ $^

libunits.a: $(objects)
	@rm -f $@
	@ar rcs $@ $^

build/%.o: src/%.c | build
	@echo compiling $<
	@gcc -O1 -g -ffile-prefix-map=$(CURDIR)=. -Iinclude -MMD -c -o $@ $<

build:
	mkdir $@

-include $(wildcard build/*.d)
""")
