#include "cli.h"

int cli_distribute(struct cli *c, int argc, char **argv)
{
	(void)c; (void)argc; (void)argv;
	return 1;
}
