// SPDX-License-Identifier: GPL-2.0
/*
 * Verbs and connection manager for rust/rdma: see rdma.h.
 */
#include <linux/inet.h>
#include <linux/nsproxy.h>
#include <net/net_namespace.h>
#include <rdma/ib_cm.h>

#include "../helpers.h"

static_assert(DK_INET_BYTES == sizeof(struct sockaddr_in));
static_assert(DK_INET6_BYTES == sizeof(struct sockaddr_in6));
static_assert(DK_CM_REP_DATA == IB_CM_REP_PRIVATE_DATA_SIZE);
static_assert(DK_CM_REJ_DATA == IB_CM_REJ_PRIVATE_DATA_SIZE);
/* The CM's own header in a connect request is 36 bytes (cma.c: struct cma_hdr). */
static_assert(DK_CM_REQ_DATA == IB_CM_REQ_PRIVATE_DATA_SIZE - 36);

/* An attempt is repeated this often before the QP fails; 7 would be for ever on rxe. */
#define DK_RETRY_COUNT 5

void dk_rdma_device_info(struct ib_device *dev, struct dk_rdma_info *info)
{
	const struct ib_device_attr *attrs = &dev->attrs;

	memset(info, 0, sizeof(*info));
	info->index = dev->index;
	info->max_fast_reg = attrs->max_fast_reg_page_list_len;
	info->max_sge = attrs->max_send_sge;
	/*
	 * Soft-iWARP begins to look for the page of a piece where it found that of the one before
	 * (siw_tx_hdt() keeps pbl_idx), and sends other memory if the piece is elsewhere.
	 */
	info->siw = dev->ops.driver_id == RDMA_DRIVER_SIW;
	info->max_sge_rd = attrs->max_sge_rd;
	info->max_qp_wr = attrs->max_qp_wr;
	info->max_cqe = attrs->max_cqe;
	info->rd_atom = attrs->max_qp_rd_atom;
	info->init_rd_atom = attrs->max_qp_init_rd_atom;
	info->node = ibdev_to_node(dev);
	info->fast_reg = attrs->device_cap_flags & IB_DEVICE_MEM_MGT_EXTENSIONS;
	info->iwarp = rdma_protocol_iwarp(dev, rdma_start_port(dev));
	info->rxe = dev->ops.driver_id == RDMA_DRIVER_RXE;
	info->software = ib_uses_virt_dma(dev) && (info->rxe || info->siw);
	strscpy((char *)info->name, dev_name(&dev->dev), sizeof(info->name));
}

/* Of the first port, in bytes; 0 if the port cannot be asked. */
u32 dk_rdma_active_mtu(struct ib_device *dev)
{
	struct ib_port_attr attr;
	int mtu;

	if (ib_query_port(dev, rdma_start_port(dev), &attr))
		return 0;
	mtu = ib_mtu_enum_to_int(attr.active_mtu);
	return mtu < 0 ? 0 : mtu;
}

bool dk_rdma_accessible(struct ib_device *dev)
{
	if (!current->nsproxy)
		return false;
	return rdma_dev_access_netns(dev, current->nsproxy->net_ns);
}

struct ib_pd *dk_ib_alloc_pd(struct ib_device *dev)
{
	if (dk_fault())
		return ERR_PTR(-ENOMEM);
	return ib_alloc_pd(dev, 0);
}

void dk_ib_dealloc_pd(struct ib_pd *pd)
{
	ib_dealloc_pd(pd);
}

/* U64_MAX if it fails. */
u64 dk_ib_dma_map(struct ib_device *dev, void *buf, size_t len, bool to_device)
{
	u64 addr;

	if (dk_fault())
		return U64_MAX;
	addr = ib_dma_map_single(dev, buf, len,
				 to_device ? DMA_TO_DEVICE : DMA_FROM_DEVICE);
	return ib_dma_mapping_error(dev, addr) ? U64_MAX : addr;
}

void dk_ib_dma_unmap(struct ib_device *dev, u64 addr, size_t len, bool to_device)
{
	ib_dma_unmap_single(dev, addr, len,
			    to_device ? DMA_TO_DEVICE : DMA_FROM_DEVICE);
}

void dk_ib_dma_sync_for_cpu(struct ib_device *dev, u64 addr, size_t len)
{
	ib_dma_sync_single_for_cpu(dev, addr, len, DMA_FROM_DEVICE);
}

void dk_ib_dma_sync_for_device(struct ib_device *dev, u64 addr, size_t size,
			       bool to_device)
{
	ib_dma_sync_single_for_device(dev, addr, size,
				      to_device ? DMA_TO_DEVICE : DMA_FROM_DEVICE);
}

int dk_ib_post_send(struct ib_qp *qp, const struct ib_send_wr *wr,
		    const struct ib_send_wr **bad)
{
	if (dk_fault()) {
		*bad = wr;
		return -ENOMEM;
	}
	return ib_post_send(qp, wr, bad);
}

int dk_ib_post_recv(struct ib_qp *qp, const struct ib_recv_wr *wr)
{
	if (dk_fault())
		return -ENOMEM;
	return ib_post_recv(qp, wr, NULL);
}

/* How many of the pages follow each other in memory, from the first on. */
static u32 dk_run(struct page **pages, u32 count)
{
	const unsigned long first = page_to_pfn(*pages);
	u32 n = 1;

	while (n < count && page_to_pfn(pages[n]) == first + n)
		n++;
	return n;
}

/*
 * Describes the first @length bytes of @pages and maps them. User space and the
 * device see the same memory at once, so a bounce buffer is no mapping for it.
 * sg_alloc_table_from_pages() does the same with some 80 instructions a page.
 */
int dk_sg_map_pages(struct ib_device *dev, struct sg_table *sgt,
		    struct page **pages, u32 count, size_t length)
{
	const u32 most = max(ib_dma_max_seg_size(dev) >> PAGE_SHIFT, 1U);
	struct scatterlist *sg;
	unsigned int i;
	u32 runs = 0;
	int ret;

	for (u32 at = 0; at < count; runs++)
		at += dk_run(pages + at, min(count - at, most));
	ret = sg_alloc_table(sgt, runs, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(sgt, sg, i) {
		const u32 run = dk_run(pages, min(count, most));
		const size_t bytes = min((size_t)run << PAGE_SHIFT, length);

		sg_set_page(sg, *pages, bytes, 0);
		pages += run;
		count -= run;
		length -= bytes;
	}
	ret = dk_fault() ? -ENOMEM :
	      ib_dma_map_sgtable_attrs(dev, sgt, DMA_BIDIRECTIONAL,
				       DMA_ATTR_REQUIRE_COHERENT);
	if (ret)
		sg_free_table(sgt);
	return ret;
}

void dk_sg_unmap(struct ib_device *dev, struct sg_table *sgt)
{
	ib_dma_unmap_sgtable_attrs(dev, sgt, DMA_BIDIRECTIONAL,
				   DMA_ATTR_REQUIRE_COHERENT);
	sg_free_table(sgt);
}

/*
 * Maps the list; returns how many elements fit. The region answers to @iova instead
 * of the DMA address, which on rxe is a kernel address, and its key differs from
 * that of any region before.
 */
int dk_ib_map_mr(struct ib_mr *mr, struct scatterlist *sg, int nents, u64 iova,
		 struct dk_mr_key *key)
{
	int n = dk_fault() ? -ENOMEM : ib_map_mr_sg(mr, sg, nents, NULL, PAGE_SIZE);

	if (n < 0)
		return n;
	mr->iova = iova + offset_in_page(mr->iova);
	ib_update_fast_reg_key(mr, ib_inc_rkey(mr->rkey));
	key->lkey = mr->lkey;
	key->rkey = mr->rkey;
	key->addr = mr->iova;
	key->length = mr->length;
	return n;
}

int dk_ib_dereg_mr(struct ib_mr *mr)
{
	return ib_dereg_mr(mr);
}

/* The id holds its own reference on the caller's network namespace. */
struct rdma_cm_id *dk_rdma_create_id(rdma_cm_event_handler handler, void *context)
{
	if (!current->nsproxy)
		return ERR_PTR(-ESRCH);
	if (dk_fault())
		return ERR_PTR(-ENOMEM);
	return rdma_create_id(current->nsproxy->net_ns, handler, context,
			      RDMA_PS_TCP, IB_QPT_RC);
}

/* Copies an end's address to @to, DK_INET6_BYTES long; returns its length or 0. */
size_t dk_rdma_addr(const struct rdma_cm_id *id, bool peer, u8 *to)
{
	const struct sockaddr_storage *addr =
		peer ? &id->route.addr.dst_addr : &id->route.addr.src_addr;
	size_t len;

	switch (addr->ss_family) {
	case AF_INET:
		len = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		len = sizeof(struct sockaddr_in6);
		break;
	default:
		return 0;
	}
	memcpy(to, addr, len);
	return len;
}

int dk_rdma_create_qp(struct rdma_cm_id *id, struct ib_pd *pd,
		      const struct dk_qp_param *param)
{
	struct ib_qp_init_attr attr = {
		.event_handler = param->event,
		.qp_context = param->context,
		.send_cq = param->send_cq,
		.recv_cq = param->recv_cq,
		.cap = {
			.max_send_wr = param->send_wr,
			.max_recv_wr = param->recv_wr,
			.max_send_sge = param->send_sge,
			.max_recv_sge = 1,
		},
		.sq_sig_type = IB_SIGNAL_REQ_WR,
		.qp_type = IB_QPT_RC,
	};

	return dk_fault() ? -ENOMEM : rdma_create_qp(id, pd, &attr);
}

/* A receiver that is not ready is a fault in the credits and must show as one. */
static void dk_fill(struct rdma_conn_param *to, const struct dk_conn_param *from)
{
	to->private_data = from->len ? from->data : NULL;
	to->private_data_len = from->len;
	to->responder_resources = from->responder_resources;
	to->initiator_depth = from->initiator_depth;
	to->flow_control = 1;
	to->retry_count = DK_RETRY_COUNT;
	to->rnr_retry_count = 0;
}

/* Both want the id's handler locked. */
int dk_rdma_connect(struct rdma_cm_id *id, const struct dk_conn_param *param)
{
	struct rdma_conn_param conn = {};

	dk_fill(&conn, param);
	return dk_fault() ? -ENOMEM : rdma_connect_locked(id, &conn);
}

int dk_rdma_accept(struct rdma_cm_id *id, const struct dk_conn_param *param)
{
	struct rdma_conn_param conn = {};

	dk_fill(&conn, param);
	return dk_fault() ? -ENOMEM : rdma_accept(id, &conn);
}

int dk_rdma_reject(struct rdma_cm_id *id, const void *data, u8 len)
{
	return dk_fault() ? -ENOMEM :
	       rdma_reject(id, data, len, IB_CM_REJ_CONSUMER_DEFINED);
}

/* Which of the event's fields mean something depends on its kind. */
void dk_rdma_event(struct rdma_cm_id *id, struct rdma_cm_event *event,
		   struct dk_cm_event *to)
{
	memset(to, 0, sizeof(*to));
	to->event = event->event;
	to->status = event->status;
	switch (event->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
	case RDMA_CM_EVENT_ESTABLISHED:
		to->data = event->param.conn.private_data;
		to->len = event->param.conn.private_data_len;
		to->responder_resources = event->param.conn.responder_resources;
		to->initiator_depth = event->param.conn.initiator_depth;
		break;
	case RDMA_CM_EVENT_REJECTED:
		/* siw tells with another status than the core knows that it was the peer. */
		if (rdma_protocol_iwarp(id->device, id->port_num)) {
			to->data = event->param.conn.private_data;
			to->len = event->param.conn.private_data_len;
			break;
		}
		to->data = rdma_consumer_reject_data(id, event, &to->len);
		break;
	default:
		break;
	}
	if (!to->data)
		to->len = 0;
}
