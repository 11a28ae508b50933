# pspfs: see README.md.  `make help` lists what can be made.

PREFIX  ?= /usr/local
DESTDIR ?=
SAN     ?=
ROUNDS  ?= 10000
BUILD   ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
comma   := ,

CC      ?= gcc
WARN    := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow \
	   -Wvla -Wformat=2 $(if $(CI),-Werror)
CFLAGS  ?= -O2 -g
CFLAGS  += $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -O1)
LDFLAGS += $(if $(SAN),-fsanitize=$(SAN))
CPPFLAGS += -D_GNU_SOURCE -DFUSE_USE_VERSION=314 -Iinclude
# sys/queue.h's TAILQ_LAST and _PREV read one struct through another.
ALL_CFLAGS = -std=gnu11 -fno-strict-aliasing -pthread $(WARN) $(CPPFLAGS) $(CFLAGS) -MMD -MP

# Every source file, by folder, in dependency order.
NET     := log_syslog log text spell lockset codec msg slices status counters buf md5 \
	   md5_avx2 md5_avx512 \
	   hasher pool gate key loop tls rpc rpc_calls rpc_reqs rpc_in \
	   rpc_out rpc_members rpc_listen dgram daemon
FS      := trailer store_index store_io store_ahead store_sync store_replay store_journal store_scan \
	   store_open store_health store cache sums sums_file \
	   trouble young link_wait link_calls link_beat link_batch link_held \
	   link_push link peers peers_conn peers_probe source shelf via_want via_give via \
	   fetch_part fetch_keep fetch_source fetch_try fetch \
	   ask layout report track track_parse virtual_text virtual whole sum \
	   byte_range parts_plan \
	   grants upload_put upload_sync upload_refused upload_mute upload served chunkd_turn chunkd_get chunkd_put \
	   chunkd_verify chunkd complete share_batch share_new share_match share \
	   local_packet local peer_push peer_share peer opts plan part get \
	   ranges spans file_recent file_map file_dirty file_commit file_flush \
	   file_compact file_ahead file_plan file_read file_seal file_write \
	   file_drain file \
	   listing tree_node tree told_names told thread refresher atimes mountpoint aborter signals pending caller kernel_notify kernel held ops ops_dir \
	   ops_tmpfile ops_list ops_attr ops_lock_call ops_lock_release ops_lock ops_file \
	   ops_content ops_xattr ops_told ops_pages \
	   ops_virtual ops_front mount_opts
FS_MAIN := mount_main peerd_main
# The pspfs command.
CLI     := pspfs_main bars cli cli_where cli_status cli_info cli_list \
	   cli_track cli_get_say cli_get cli_share cli_replicate member distribute_put \
	   distribute_verify distribute file_md5 hidden cli_distribute
TRACKER := db_schema db_sqlite db_open db_wal ns ns_chunk ns_copies ns_slot ns_xattr ns_acl \
	   ns_attr ns_map ns_range ns_clone ns_dir ns_rename ns_reap ns_digest \
	   placement locations lru relay relay_seek leases_revoke leases locks_wait locks \
	   sessions swarm swarm_copies garbage repair jobs core_ns core_chunk \
	   core_change core_late core_lock core_digest core_job core_status \
	   core_orphans core_hello core_out core core_open meta probe relayd \
	   relayd_io server_ask server
TRACKER_MAIN := options main

BENCH_NET     := bench_md5 bench_rpc bench_codec
BENCH_FS      := bench_store
BENCH_TRACKER := bench_ns bench_meta
# Programs that end-to-end tests run beside the real ones.
HELPERS_NET   := lie_proxy

# Unit tests and simulations, by the folder that they test.
UNIT_NET     := unit_text unit_log unit_codec unit_msg unit_slices unit_md5 unit_threads unit_key \
		unit_loop unit_rpc unit_rpc_ends unit_rpc_wire unit_dgram unit_daemon unit_buf unit_spell
UNIT_FS      := unit_store unit_store_journal unit_cache unit_young unit_source \
		unit_opts unit_byte_range unit_local unit_parts_plan unit_link unit_peer \
	   unit_shelf unit_listing unit_tree unit_told unit_refresher unit_held unit_sums unit_atimes unit_mount_opts unit_track unit_extents \
	   unit_file unit_file_map unit_file_random unit_virtual unit_signals unit_caller \
	   unit_pending
UNIT_TRACKER := unit_db unit_ns unit_ns_attr unit_ns_acl \
	   unit_ns_nameless unit_ns_map unit_ns_chunk unit_ns_copies unit_ns_digest \
	   unit_ns_range unit_ns_clone unit_ns_model unit_placement unit_lru \
	   unit_sessions unit_leases unit_locks unit_locks_many unit_swarm \
	   unit_repair unit_repair_copies unit_jobs unit_digest unit_core \
		unit_server \
		sim_tracker sim_relay

# Unit tests with tests/faults.c, and the calls that fail there.
FAULTS_NET     := unit_faults_net
FAULTS_FS      := unit_faults_store unit_faults_file unit_faults_fs
FAULTS_TRACKER := unit_faults_ns unit_faults_core
FAULTS_CALLS := malloc calloc realloc strdup posix_memalign pthread_create \
		open openat fopen fdopendir readdir read pread write pwrite \
		writev pwritev preadv2 fsync fdatasync syncfs ftruncate \
		fallocate unlink unlinkat rename renameat link linkat mkdir \
		mkdirat fstat fstatat flock socket accept4 bind listen connect \
		setsockopt send recv sendto recvfrom sendmsg recvmsg

# Fuzz targets, tests/fuzz/fuzz_NAME.c; each is also a unit test that runs over
# its checked-in inputs.
FUZZ_NET     := msg slices dgram rpc_in rpc identity key text
FUZZ_FS      := trailer journal store sums track gather map chunkd local part \
		mount_opts byte_range proc
FUZZ_TRACKER := slot acl relayd options core
UNIT_FUZZ_NET     := $(FUZZ_NET:%=fuzz_%)
UNIT_FUZZ_FS      := $(FUZZ_FS:%=fuzz_%)
UNIT_FUZZ_TRACKER := $(FUZZ_TRACKER:%=fuzz_%)

VERSION := 0.1
PKGS    := libevent_core libevent_pthreads libssl libcrypto jansson
CPPFLAGS += -DPSPFS_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PKGS) fuse3 libxxhash sqlite3 2>/dev/null)
NET_LIBS     := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
FS_LIBS      := $(shell pkg-config --libs fuse3 libxxhash 2>/dev/null)
TRACKER_LIBS := $(shell pkg-config --libs sqlite3 2>/dev/null)

PROGRAMS := psptrackerd mount.pspfs psppeerd pspfs
MAN1     := fs/pspfs.1
MAN8     := tracker/psptrackerd.8 fs/mount.pspfs.8 fs/psppeerd.8
PYTHON   ?= /usr/bin/python3
MANDIR   ?= $(PREFIX)/share/man
V        ?=
Q        := $(if $(V),,@)
say       = $(if $(V),,@printf '  %-4s %s\n' $(1) $(2))

# What building, running and testing need, by their names in Debian.
DEPS_RUN   := fuse3 libfuse3-3 libevent-core-2.1-7 libevent-pthreads-2.1-7 \
	      libssl3 libsqlite3-0 libjansson4 libxxhash0
DEPS_BUILD := gcc make pkg-config libc6-dev libfuse3-dev libevent-dev \
	      libssl-dev libsqlite3-dev libjansson-dev uthash-dev libxxhash-dev
DEPS_TEST  := libcmocka-dev python3 python3-pytest python3-pytest-timeout \
	      python3-pytest-xdist \
	      rsync git tar procps util-linux iproute2 nftables cppcheck \
	      fio sqlite3 zip unzip vim-tiny emacs-nox stress-ng dbench \
	      acl attr patch xz-utils dpkg clang libclang-rt-14-dev \
	      libfaketime e2fsprogs

.DELETE_ON_ERROR:
.PHONY: all deps demo check check-unit check-e2e check-model check-mounts lint bench bench-memory fuzz fuzz-seeds install \
	uninstall clean help

all: $(PROGRAMS:%=$(BUILD)/%)

help:
	@echo "make           build psptrackerd, mount.pspfs, psppeerd and pspfs in $(BUILD)/"
	@echo "make deps      install what that needs (apt-get), or list it"
	@echo "make demo      a swarm on this machine, shown step by step (KEEP=1: leave it up)"
	@echo "make check     all tests; SAN=address,undefined or SAN=thread: with sanitizers"
	@echo "make check-model OPS=100000 SEEDS='1 2'   all calls at random, against a model of POSIX"
	@echo "make check-mounts  ROUNDS=10000 of each kind of change on three mounts: no stale answer"
	@echo "make fuzz      libFuzzer on every decoder, FUZZ_S=60 seconds each; TARGET=name for one"
	@echo "make lint      two compilers with -Werror, cppcheck, included-folder rules"
	@echo "make bench     the parts beside their ceilings; ONLY=md5 for one of them"
	@echo "make bench-memory  what a peer takes that copies 4 GiB, and a tracker with a million files"
	@echo "make install   into DESTDIR/PREFIX, mount.pspfs also where mount(8) looks"

# --- objects and programs ---

NET_OBJ     := $(NET:%=$(BUILD)/net/%.o)
FS_OBJ      := $(FS:%=$(BUILD)/fs/%.o)
TRACKER_OBJ := $(TRACKER:%=$(BUILD)/tracker/%.o)

$(BUILD)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -I$(firstword $(subst /, ,$<)) -c -o $@ $<

$(BUILD)/net.a: $(NET_OBJ)
$(BUILD)/fs.a: $(FS_OBJ)
$(BUILD)/tracker.a: $(TRACKER_OBJ)
$(BUILD)/%.a:
	$(call say,AR,$@)
	$(Q)rm -f $@; ar rcs $@ $^

LINK = $(Q)$(CC) -pthread $(CFLAGS) $(LDFLAGS) -o $@ $^

$(BUILD)/psptrackerd: $(TRACKER_MAIN:%=$(BUILD)/tracker/%.o) $(BUILD)/tracker.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(TRACKER_LIBS) $(NET_LIBS)

$(BUILD)/mount.pspfs: $(BUILD)/fs/mount_main.o $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(FS_LIBS) $(NET_LIBS)

$(BUILD)/psppeerd: $(BUILD)/fs/peerd_main.o $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(FS_LIBS) $(NET_LIBS)

$(BUILD)/pspfs: $(CLI:%=$(BUILD)/fs/%.o) $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(FS_LIBS) $(NET_LIBS)

# --- tests: a program for each tests/unit_*.c, sim_*.c, bench_*.c ---

$(BUILD)/tests/net/%.o: tests/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Inet -c -o $@ $<
$(BUILD)/tests/fs/%.o: tests/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Ifs -c -o $@ $<
$(BUILD)/tests/tracker/%.o: tests/%.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CFLAGS) -Itracker -c -o $@ $<

# Fuzz targets: with replay.c as unit tests, with libFuzzer for make fuzz.
REPLAY := $(BUILD)/tests/net/fuzz/replay.o
$(UNIT_FUZZ_NET:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/net/fuzz/%.o $(REPLAY) $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(NET_LIBS)
$(UNIT_FUZZ_FS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/fs/fuzz/%.o $(REPLAY) $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(FS_LIBS) $(NET_LIBS)
$(UNIT_FUZZ_TRACKER:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/tracker/fuzz/%.o $(REPLAY) $(BUILD)/tracker.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(TRACKER_LIBS) $(NET_LIBS)

$(FUZZ_NET:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(BUILD)/tests/net/fuzz/fuzz_%.o $(BUILD)/net.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK) -fsanitize=fuzzer $(NET_LIBS)
$(FUZZ_FS:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(BUILD)/tests/fs/fuzz/fuzz_%.o $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK) -fsanitize=fuzzer $(FS_LIBS) $(NET_LIBS)
$(FUZZ_TRACKER:%=$(BUILD)/fuzz/%): $(BUILD)/fuzz/%: $(BUILD)/tests/tracker/fuzz/fuzz_%.o $(BUILD)/tracker.a $(BUILD)/net.a
	$(call say,LD,$@)
	@mkdir -p $(@D)
	$(LINK) -fsanitize=fuzzer $(TRACKER_LIBS) $(NET_LIBS)

$(UNIT_NET:%=$(BUILD)/tests/%) $(BENCH_NET:%=$(BUILD)/tests/%) $(HELPERS_NET:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/net/%.o $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) -lcmocka $(NET_LIBS)
$(UNIT_FS:%=$(BUILD)/tests/%) $(BENCH_FS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/fs/%.o $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) -lcmocka $(FS_LIBS) $(NET_LIBS)
$(UNIT_TRACKER:%=$(BUILD)/tests/%) $(BENCH_TRACKER:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/tracker/%.o $(BUILD)/tracker.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) -lcmocka $(TRACKER_LIBS) $(NET_LIBS)

FAULTS := $(BUILD)/tests/net/faults.o
WRAPS  := $(FAULTS_CALLS:%=-Wl,--wrap=%)
$(FAULTS_NET:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/net/%.o $(FAULTS) $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(WRAPS) -lcmocka $(NET_LIBS)
$(FAULTS_FS:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/fs/%.o $(FAULTS) $(BUILD)/fs.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(WRAPS) -lcmocka $(FS_LIBS) $(NET_LIBS)
$(FAULTS_TRACKER:%=$(BUILD)/tests/%): $(BUILD)/tests/%: $(BUILD)/tests/tracker/%.o $(FAULTS) $(BUILD)/tracker.a $(BUILD)/net.a
	$(call say,LD,$@)
	$(LINK) $(WRAPS) -lcmocka $(TRACKER_LIBS) $(NET_LIBS)

# Those that take longest go first: none is left to run alone.
UNIT := $(FAULTS_FS) $(FAULTS_TRACKER) $(FAULTS_NET) \
	$(UNIT_NET) $(UNIT_FS) $(UNIT_TRACKER) \
	$(UNIT_FUZZ_NET) $(UNIT_FUZZ_FS) $(UNIT_FUZZ_TRACKER)
BENCH := $(BENCH_NET) $(BENCH_FS) $(BENCH_TRACKER)
HELPERS := $(HELPERS_NET:%=$(BUILD)/tests/%)

check-unit: $(UNIT:%=$(BUILD)/tests/%)
	$(PYTHON) tests/run.py --build $(BUILD) $(UNIT)

check-e2e: all $(HELPERS)
	$(PYTHON) tests/run.py --build $(BUILD) --pytest tests/e2e

OPS   ?= 100000
SEEDS ?= $(shell date +%N)
check-model: all
	@for s in $(SEEDS); do \
		PSPFS_BUILD=$(abspath $(BUILD)) PSPFS_MODEL_OPS=$(OPS) PSPFS_SEED=$$s \
		$(PYTHON) -m pytest -q -s tests/e2e/test_model.py || exit 1; done

check: all $(UNIT:%=$(BUILD)/tests/%) $(HELPERS)
	$(PYTHON) tests/run.py --build $(BUILD) $(UNIT) --pytest tests

# Do mounts ever disagree?  KIND="..." for some kinds only.
check-mounts: all
	PSPFS_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/e2e/check_mounts.py --rounds $(ROUNDS) $(KIND:%=--kind %)

# ONLY="md5 store" for some groups; see tests/bench.py.
bench: all $(BENCH:%=$(BUILD)/tests/%)
	$(Q)$(PYTHON) tests/bench.py --build $(BUILD) $(ONLY)

bench-memory: all $(BUILD)/tests/bench_ns
	PSPFS_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/e2e/measure_memory.py peer
	PSPFS_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/e2e/measure_memory.py tracker


# Each decoder against what libFuzzer makes up, FUZZ_S seconds; TARGET=name for
# one.  What it finds new goes to build-fuzz/corpus, what fails to build-fuzz.
FUZZ_S ?= 60
TARGET ?= $(FUZZ_NET) $(FUZZ_FS) $(FUZZ_TRACKER)
CLANG  ?= clang
# clang does not say __SANITIZE_ADDRESS__ by itself, as gcc does.
FUZZ_CFLAGS = -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined \
	      -fno-sanitize-recover=all -D__SANITIZE_ADDRESS__
fuzz:
	$(Q)$(MAKE) --no-print-directory BUILD=build-fuzz CC=$(CLANG) SAN= \
		CFLAGS="$(FUZZ_CFLAGS)" $(TARGET:%=build-fuzz/fuzz/%)
	$(Q)$(PYTHON) tests/fuzz/run.py --build build-fuzz --seconds $(FUZZ_S) $(TARGET)

# The checked-in inputs, made anew by the encoders.
fuzz-seeds: $(foreach t,$(TARGET),$(BUILD)/tests/fuzz_$t)
	$(Q)for t in $(TARGET); do mkdir -p tests/fuzz/corpus/$$t && \
		$(BUILD)/tests/fuzz_$$t --seeds tests/fuzz/corpus/$$t || exit 1; done

# cppcheck reads no system headers, but has to know these macros: it is given
# the headers, wherever the compiler finds them.
MACROS = $(shell $(CC) -M -x c -include sys/queue.h -include uthash.h /dev/null | \
	   grep -oE '/[^ ]*/(sys/queue|uthash)\.h')
CPPCHECK = cppcheck --quiet -j2 --std=c11 --inline-suppr --error-exitcode=1 \
	   --enable=warning,portability,performance \
	   --suppress=missingIncludeSystem $(MACROS:%=--suppress='*:%') \
	   $(MACROS:%=--include=%) -D_GNU_SOURCE

lint:
	$(Q)$(MAKE) --no-print-directory -j$(shell nproc) BUILD=$(BUILD)-lint CFLAGS="-O2 -Werror" all
	$(Q)for dir in net fs tracker; do $(CLANG) -fsyntax-only -std=gnu11 -Werror $(WARN) $(CPPFLAGS) -I$$dir \
		$$dir/*.c || exit 1; done
	$(Q)! grep -nE '#include "([^"]*/)' -r net fs tracker include --include=*.[ch]
	$(Q)! grep -n '#include <uthash.h>' -r net fs tracker --include=*.[ch]
	$(Q)$(CPPCHECK) -Iinclude -Inet net
	$(Q)$(CPPCHECK) -Iinclude -Ifs fs
	$(Q)$(CPPCHECK) -Iinclude -Itracker tracker
	@echo "lint: clean"

demo: deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)PATH="$(abspath $(BUILD)):$$PATH" KEEP="$(KEEP)" bash tests/demo.sh

deps:
	$(Q)PACKAGES="$(DEPS_RUN) $(DEPS_BUILD) $(DEPS_TEST)" sh tests/deps.sh

install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)/sbin \
		$(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(MANDIR)/man8
	install -m 755 $(BUILD)/pspfs $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BUILD)/psptrackerd $(BUILD)/psppeerd $(BUILD)/mount.pspfs $(DESTDIR)$(PREFIX)/sbin/
	ln -sf $(PREFIX)/sbin/mount.pspfs $(DESTDIR)/sbin/mount.pspfs
	ln -sf $(PREFIX)/sbin/mount.pspfs $(DESTDIR)/sbin/mount.fuse.pspfs
	install -m 644 $(MAN1) $(DESTDIR)$(MANDIR)/man1/
	install -m 644 $(MAN8) $(DESTDIR)$(MANDIR)/man8/

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/pspfs $(DESTDIR)/sbin/mount.pspfs $(DESTDIR)/sbin/mount.fuse.pspfs
	rm -f $(PROGRAMS:%=$(DESTDIR)$(PREFIX)/sbin/%)
	rm -f $(patsubst %,$(DESTDIR)$(MANDIR)/man1/%,$(notdir $(MAN1)))
	rm -f $(patsubst %,$(DESTDIR)$(MANDIR)/man8/%,$(notdir $(MAN8)))

clean:
	rm -rf build build-*

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
