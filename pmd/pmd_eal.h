/* EAL start and end, log capture, threads. Functions return 0 or a negative errno. */
#ifndef PMD_EAL_H
#define PMD_EAL_H

#include <stddef.h>
#include <stdint.h>

/* pmd_eal_init runs rte_eal_init on the calling thread, which becomes EAL's main lcore and must
 * stay alive. argv is copied. */
int pmd_eal_init(int argc, char **argv);
int pmd_eal_cleanup(void);

/* pmd_eal_runtime_dir returns the directory EAL made for this process, "" before init. */
const char *pmd_eal_runtime_dir(void);

/* pmd_thread_register gives the calling thread an lcore id, and with it a mempool cache. */
int pmd_thread_register(void);
void pmd_thread_unregister(void);

/* DPDK explains failures only in its log. While capturing, lines are kept (the first PMD_LOG_SIZE
 * octets) instead of written to stderr, unless verbose. */
#define PMD_LOG_SIZE 2048
int pmd_log_open(int verbose); /* a second call does nothing */
void pmd_log_adopt(void); /* the loaded drivers' libraries log there too */
void pmd_log_capture(int on);
size_t pmd_log_take(char *buf, size_t size); /* copies and forgets what was kept */

/* pmd_args_* build an argv from Go without handing Go pointers to C. */
char **pmd_args_new(int n);
void pmd_args_set(char **args, int i, char *s); /* takes s, which C.CString made */
void pmd_args_free(char **args, int n);
void pmd_string_free(char *s);

#endif
