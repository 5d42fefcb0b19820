/* Ports: probing, configuration, state. Functions return 0 or a negative errno. */
#ifndef PMD_PORT_H
#define PMD_PORT_H

#include <stdint.h>

#define PMD_NAME_SIZE 64
#define PMD_RSS_KEY_SIZE 40
#define PMD_RSS_TABLE_SIZE 512

/* Offload bits, as Go's Offloads. */
enum {
	PMD_RX_CSUM = 1,
	PMD_TX_CSUM = 2,
	PMD_TSO = 4,
	PMD_RSS = 8,
};

struct pmd_port_info {
	char driver[PMD_NAME_SIZE];
	uint16_t max_rx_queues, max_tx_queues;
	uint16_t min_mtu, max_mtu; /* octets of IP packet */
	uint16_t rx_desc_min, rx_desc_max, tx_desc_min, tx_desc_max;
	uint32_t capa; /* offload bits */
	int socket;    /* NUMA node, -1 any */
};

struct pmd_port_config {
	uint16_t rx_queues, tx_queues;
	uint16_t mtu;
	uint32_t offloads; /* subset of capa */
};

struct pmd_link {
	uint32_t mbps;
	uint8_t up, full_duplex;
};

struct pmd_stats {
	uint64_t rx_frames, rx_bytes, rx_missed, rx_errors, rx_nombuf;
	uint64_t tx_frames, tx_bytes, tx_errors;
};

struct pmd_rss {
	uint8_t key[PMD_RSS_KEY_SIZE];
	uint16_t table[PMD_RSS_TABLE_SIZE];
	uint16_t table_len;
};

/* An mbuf pool: a struct rte_mempool under a name that C and Go share. */
struct pmd_pool;

int pmd_port_probe(const char *bus, const char *name, const char *args);
int pmd_port_find(const char *name, uint16_t *port);
int pmd_port_info(uint16_t port, struct pmd_port_info *info);
int pmd_port_configure(uint16_t port, const struct pmd_port_config *cfg);
int pmd_port_adjust_desc(uint16_t port, uint16_t *rx, uint16_t *tx);
int pmd_port_rx_setup(uint16_t port, uint16_t queue, uint16_t desc, struct pmd_pool *pool);
int pmd_port_tx_setup(uint16_t port, uint16_t queue, uint16_t desc);
int pmd_port_start(uint16_t port);
void pmd_port_forget(uint16_t port, uint16_t queue); /* frees what waits to be received */
int pmd_port_close(uint16_t port); /* stops, closes and unplugs */
int pmd_port_mac(uint16_t port, uint8_t mac[6]);
int pmd_port_mtu(uint16_t port, uint16_t *mtu);
int pmd_port_set_mtu(uint16_t port, uint16_t mtu);
int pmd_port_link(uint16_t port, struct pmd_link *link);
int pmd_port_stats(uint16_t port, struct pmd_stats *stats);
int pmd_port_rss(uint16_t port, struct pmd_rss *rss);

/* pmd_port_xstats fills names (PMD_NAME_SIZE octets each) and values; returns how many there are,
 * which may exceed size, or a negative errno. */
int pmd_port_xstats(uint16_t port, char *names, uint64_t *values, int size);

/* pmd_pool_new makes an mbuf pool of n buffers with room octets each, headroom not counted. dma
 * says that a device reads and writes them by itself. */
int pmd_pool_new(const char *name, unsigned n, uint16_t room, int socket, int dma,
		 struct pmd_pool **pool);
void pmd_pool_free(struct pmd_pool *pool);
unsigned pmd_pool_available(struct pmd_pool *pool);

#endif
