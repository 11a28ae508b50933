#include "trouble.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void trouble_tracker(int err, const char *at, const char *key_file,
		     char *out, size_t n)
{
	switch (-err) {
	case EACCES:
		snprintf(out, n,
			 "the key in %s is not that of the tracker at %s: copy "
			 "the tracker's key file to this machine (mode 0600)",
			 key_file, at);
		return;
	case ECONNREFUSED:
		snprintf(out, n, "no tracker answers at %s (connection "
			 "refused): is psptrackerd running there?", at);
		return;
	case ETIMEDOUT:
		snprintf(out, n, "no tracker answers at %s (no answer in "
			 "time): is the address right, and does a firewall "
			 "let TCP through?", at);
		return;
	case EPROTO:
		snprintf(out, n, "what answers at %s is no psptrackerd, or one "
			 "of another version", at);
		return;
	default:
		snprintf(out, n, "no tracker answers at %s (%s): is "
			 "psptrackerd running there?", at, strerror(-err));
	}
}
