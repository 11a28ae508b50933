# pspfs: see README.md.  `make help` lists what can be made.

PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
BUILD   ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
comma   := ,

CC      ?= gcc
WARN    := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow \
	   -Wvla -Wformat=2 $(if $(CI),-Werror)
CFLAGS  ?= -O2 -g
CFLAGS  += $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer -O1)
LDFLAGS += $(if $(SAN),-fsanitize=$(SAN))
CPPFLAGS += -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -Iinclude
ALL_CFLAGS = -std=gnu11 -pthread $(WARN) $(CPPFLAGS) $(CFLAGS) -MMD -MP

# Every source file, by folder, in dependency order.
NET     := log text codec msg status counters buf md5 md5_avx2 md5_avx512 \
	   hasher pool key loop tls rpc dgram
FS      :=
FS_MAIN :=
TRACKER :=
TRACKER_MAIN :=

# Unit tests and simulations, by the folder that they test.
UNIT_NET     := unit_text unit_codec unit_msg unit_md5 unit_threads unit_key
UNIT_FS      :=
UNIT_TRACKER :=
