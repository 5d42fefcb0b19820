#include "pmd_port.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#define RX_CSUM (RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | RTE_ETH_RX_OFFLOAD_TCP_CKSUM)
#define TX_CSUM (RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM)
#define RSS_TYPES (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP)

/* Buffers each lcore keeps for itself, so that the shared ring of a pool is touched rarely. */
#define POOL_CACHE 256

/* The key of the RSS verification suite, so that hashes can be checked against published ones. */
static const uint8_t rss_key[PMD_RSS_KEY_SIZE] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

int
pmd_port_probe(const char *bus, const char *name, const char *args)
{
	int rc = rte_eal_hotplug_add(bus, name, args);

	/* Drivers that predate the errno convention answer -1, which would read as EPERM. */
	return rc == -1 ? -ENODEV : rc;
}

int
pmd_port_find(const char *name, uint16_t *port)
{
	return rte_eth_dev_get_port_by_name(name, port);
}

int
pmd_port_info(uint16_t port, struct pmd_port_info *info)
{
	struct rte_eth_dev_info d;
	int rc = rte_eth_dev_info_get(port, &d);

	if (rc != 0)
		return rc;
	memset(info, 0, sizeof(*info));
	snprintf(info->driver, sizeof(info->driver), "%s", d.driver_name);
	info->max_rx_queues = d.max_rx_queues;
	info->max_tx_queues = d.max_tx_queues;
	info->min_mtu = d.min_mtu;
	info->max_mtu = d.max_mtu;
	info->rx_desc_min = d.rx_desc_lim.nb_min;
	info->rx_desc_max = d.rx_desc_lim.nb_max;
	info->tx_desc_min = d.tx_desc_lim.nb_min;
	info->tx_desc_max = d.tx_desc_lim.nb_max;
	if ((d.rx_offload_capa & RX_CSUM) == RX_CSUM)
		info->capa |= PMD_RX_CSUM;
	if ((d.tx_offload_capa & TX_CSUM) == TX_CSUM)
		info->capa |= PMD_TX_CSUM;
	if ((d.tx_offload_capa & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0)
		info->capa |= PMD_TSO;
	if ((d.flow_type_rss_offloads & RSS_TYPES) != 0 && d.reta_size != 0)
		info->capa |= PMD_RSS;
	info->socket = rte_eth_dev_socket_id(port);
	return 0;
}

int
pmd_port_configure(uint16_t port, const struct pmd_port_config *cfg)
{
	const uint32_t ether_extra = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN;
	struct rte_eth_dev_info d;
	struct rte_eth_conf conf;
	int rc = rte_eth_dev_info_get(port, &d);

	if (rc != 0)
		return rc;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = cfg->mtu;
	/* AF_PACKET says 1518 octets whatever its frames hold. */
	if (d.max_mtu == UINT16_MAX && cfg->mtu + ether_extra > d.max_rx_pktlen)
		conf.rxmode.mtu = d.max_rx_pktlen - ether_extra;
	if (cfg->offloads & PMD_RX_CSUM)
		conf.rxmode.offloads |= RX_CSUM;
	if (cfg->offloads & PMD_TX_CSUM)
		conf.txmode.offloads |= TX_CSUM;
	if (cfg->offloads & PMD_TSO)
		conf.txmode.offloads |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
	if (cfg->offloads & PMD_RSS) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rxmode.offloads |= d.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;
		conf.rx_adv_conf.rss_conf.rss_hf = RSS_TYPES & d.flow_type_rss_offloads;
		if (d.hash_key_size == 0 || d.hash_key_size == sizeof(rss_key)) {
			conf.rx_adv_conf.rss_conf.rss_key = (uint8_t *)(uintptr_t)rss_key;
			conf.rx_adv_conf.rss_conf.rss_key_len = sizeof(rss_key);
		}
	}
	return rte_eth_dev_configure(port, cfg->rx_queues, cfg->tx_queues, &conf);
}

int
pmd_port_adjust_desc(uint16_t port, uint16_t *rx, uint16_t *tx)
{
	return rte_eth_dev_adjust_nb_rx_tx_desc(port, rx, tx);
}

int
pmd_port_rx_setup(uint16_t port, uint16_t queue, uint16_t desc, struct pmd_pool *pool)
{
	int socket = rte_eth_dev_socket_id(port);

	return rte_eth_rx_queue_setup(port, queue, desc, (unsigned)socket, NULL,
				      (struct rte_mempool *)pool);
}

int
pmd_port_tx_setup(uint16_t port, uint16_t queue, uint16_t desc)
{
	int socket = rte_eth_dev_socket_id(port);

	return rte_eth_tx_queue_setup(port, queue, desc, (unsigned)socket, NULL);
}

int
pmd_port_start(uint16_t port)
{
	int rc = rte_eth_dev_start(port);

	if (rc != 0)
		return rc;
	/* A port sees its own frames only. Drivers without the notion are as good. */
	rc = rte_eth_promiscuous_disable(port);
	return rc == -ENOTSUP ? 0 : rc;
}

void
pmd_port_forget(uint16_t port, uint16_t queue)
{
	struct rte_mbuf *m[32];
	uint16_t n = RTE_DIM(m);

	for (int i = 0; i < 1024 && n > 0; i++) {
		n = rte_eth_rx_burst(port, queue, m, RTE_DIM(m));
		rte_pktmbuf_free_bulk(m, n);
	}
}

int
pmd_port_close(uint16_t port)
{
	struct rte_eth_dev_info d;
	int rc = rte_eth_dev_info_get(port, &d);
	int rc2;

	if (rc != 0)
		return rc;
	rc = rte_eth_dev_stop(port);
	rc2 = rte_eth_dev_close(port);
	if (rc == 0)
		rc = rc2;
	rc2 = rte_dev_remove(d.device);
	return rc != 0 ? rc : rc2;
}

int
pmd_port_mac(uint16_t port, uint8_t mac[6])
{
	struct rte_ether_addr a;
	int rc = rte_eth_macaddr_get(port, &a);

	if (rc == 0)
		memcpy(mac, a.addr_bytes, sizeof(a.addr_bytes));
	return rc;
}

int
pmd_port_mtu(uint16_t port, uint16_t *mtu)
{
	return rte_eth_dev_get_mtu(port, mtu);
}

int
pmd_port_set_mtu(uint16_t port, uint16_t mtu)
{
	return rte_eth_dev_set_mtu(port, mtu);
}

int
pmd_port_link(uint16_t port, struct pmd_link *link)
{
	struct rte_eth_link l;
	int rc = rte_eth_link_get_nowait(port, &l);

	if (rc != 0)
		return rc;
	link->mbps = l.link_speed == RTE_ETH_SPEED_NUM_UNKNOWN ? 0 : l.link_speed;
	link->up = l.link_status == RTE_ETH_LINK_UP;
	link->full_duplex = l.link_duplex == RTE_ETH_LINK_FULL_DUPLEX;
	return 0;
}

int
pmd_port_stats(uint16_t port, struct pmd_stats *stats)
{
	struct rte_eth_stats s;
	int rc = rte_eth_stats_get(port, &s);

	if (rc != 0)
		return rc;
	*stats = (struct pmd_stats){
		.rx_frames = s.ipackets,
		.rx_bytes = s.ibytes,
		.rx_missed = s.imissed,
		.rx_errors = s.ierrors,
		.rx_nombuf = s.rx_nombuf,
		.tx_frames = s.opackets,
		.tx_bytes = s.obytes,
		.tx_errors = s.oerrors,
	};
	return 0;
}

int
pmd_port_rss(uint16_t port, struct pmd_rss *rss)
{
	struct rte_eth_dev_info d;
	struct rte_eth_rss_reta_entry64 reta[PMD_RSS_TABLE_SIZE / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_rss_conf conf = {.rss_key = rss->key, .rss_key_len = sizeof(rss->key)};
	int rc = rte_eth_dev_info_get(port, &d);

	if (rc != 0)
		return rc;
	if (d.reta_size > PMD_RSS_TABLE_SIZE || d.hash_key_size > PMD_RSS_KEY_SIZE)
		return -E2BIG;
	rc = rte_eth_dev_rss_hash_conf_get(port, &conf);
	if (rc != 0)
		return rc;
	memset(reta, 0xff, sizeof(reta)); /* every mask bit set: tell all entries */
	rc = rte_eth_dev_rss_reta_query(port, reta, d.reta_size);
	if (rc != 0)
		return rc;
	rss->table_len = d.reta_size;
	for (unsigned i = 0; i < d.reta_size; i++)
		rss->table[i] =
			reta[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	return 0;
}

int
pmd_port_xstats(uint16_t port, char *names, uint64_t *values, int size)
{
	int n = rte_eth_xstats_get_names_by_id(port, NULL, 0, NULL);
	struct rte_eth_xstat_name *tmp;

	if (n <= 0 || n > size)
		return n;
	tmp = calloc((size_t)n, sizeof(*tmp));
	if (tmp == NULL)
		return -ENOMEM;
	n = rte_eth_xstats_get_names_by_id(port, tmp, (unsigned)n, NULL);
	for (int i = 0; i < n; i++)
		memcpy(names + i * PMD_NAME_SIZE, tmp[i].name, sizeof(tmp[i].name));
	free(tmp);
	if (n > 0)
		n = rte_eth_xstats_get_by_id(port, NULL, values, (unsigned)n);
	return n;
}

_Static_assert(RTE_ETH_XSTATS_NAME_SIZE == PMD_NAME_SIZE, "xstat names are copied whole");

/* rte_pktmbuf_pool_create lays buffers out so that none crosses a page, for the sake of DMA. Over
 * 4 KiB pages that wastes half of the memory, and AF_XDP, which expects a pool to be one dense
 * array, hands the kernel addresses beyond what it registered: frames vanish. Devices that DMA
 * need that layout; the others get the dense one. */
int
pmd_pool_new(const char *name, unsigned n, uint16_t room, int socket, int dma,
	     struct pmd_pool **pool)
{
	struct rte_pktmbuf_pool_private priv = {
		.mbuf_data_room_size = RTE_PKTMBUF_HEADROOM + room,
	};
	unsigned size = sizeof(struct rte_mbuf) + priv.mbuf_data_room_size;
	struct rte_mempool *mp = rte_mempool_create_empty(
		name, n, size, POOL_CACHE, sizeof(priv), socket,
		dma ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG);
	int rc;

	if (mp == NULL)
		return -rte_errno;
	rc = rte_mempool_set_ops_byname(mp, rte_mbuf_best_mempool_ops(), NULL);
	if (rc == 0) {
		rte_pktmbuf_pool_init(mp, &priv);
		rc = rte_mempool_populate_default(mp);
	}
	if (rc >= 0 && !dma && mp->nb_mem_chunks != 1)
		rc = -ENOMEM; /* memory is too fragmented for one array */
	if (rc < 0) {
		rte_mempool_free(mp);
		return rc;
	}
	rte_mempool_obj_iter(mp, rte_pktmbuf_init, NULL);
	*pool = (struct pmd_pool *)mp;
	return 0;
}

void
pmd_pool_free(struct pmd_pool *pool)
{
	rte_mempool_free((struct rte_mempool *)pool);
}

unsigned
pmd_pool_available(struct pmd_pool *pool)
{
	return rte_mempool_avail_count((struct rte_mempool *)pool);
}
