/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What Rust cannot reach of the verbs and of the RDMA connection manager:
 * inline functions, macros, and structs full of bitfields.
 */
#ifndef _DMAKIT_HELPERS_RDMA_H
#define _DMAKIT_HELPERS_RDMA_H

#include <linux/scatterlist.h>
#include <linux/types.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

/* What is worth knowing of a device; it does not change while it lives. */
struct dk_rdma_info {
	u32 index;
	u32 max_fast_reg;
	u32 max_sge;
	u32 max_sge_rd;
	bool siw;
	u32 max_qp_wr;
	u32 max_cqe;
	u32 rd_atom;
	u32 init_rd_atom;
	s32 node;
	bool fast_reg;
	bool iwarp;
	bool rxe;
	/* Its driver does what others have DMA for. */
	bool software;
	u8 name[IB_DEVICE_NAME_MAX];
};

/* The keys and the extent of a memory region. */
struct dk_mr_key {
	u32 lkey;
	u32 rkey;
	u64 addr;
	u64 length;
};

/* What both ends say when they connect. */
struct dk_conn_param {
	const void *data;
	u8 len;
	u8 responder_resources;
	u8 initiator_depth;
};

/* What a QP is made of. */
struct dk_qp_param {
	struct ib_cq *send_cq;
	struct ib_cq *recv_cq;
	void (*event)(struct ib_event *event, void *context);
	void *context;
	u32 send_wr;
	u32 recv_wr;
	u32 send_sge;
};

/* The part of an event that we read. */
struct dk_cm_event {
	enum rdma_cm_event_type event;
	s32 status;
	const void *data;
	u8 len;
	u8 responder_resources;
	u8 initiator_depth;
};

#define DK_INET_BYTES 16
#define DK_INET6_BYTES 28

#define DK_CM_REQ_DATA 56	/* IB_CM_REQ_PRIVATE_DATA_SIZE less the CM's header */
#define DK_CM_REP_DATA 196
#define DK_CM_REJ_DATA 148

void dk_rdma_device_info(struct ib_device *dev, struct dk_rdma_info *info);
u32 dk_rdma_active_mtu(struct ib_device *dev);
bool dk_rdma_accessible(struct ib_device *dev);
struct ib_pd *dk_ib_alloc_pd(struct ib_device *dev);
void dk_ib_dealloc_pd(struct ib_pd *pd);

u64 dk_ib_dma_map(struct ib_device *dev, void *buf, size_t len, bool to_device);
void dk_ib_dma_unmap(struct ib_device *dev, u64 addr, size_t len, bool to_device);
void dk_ib_dma_sync_for_cpu(struct ib_device *dev, u64 addr, size_t len);
void dk_ib_dma_sync_for_device(struct ib_device *dev, u64 addr, size_t size,
			       bool to_device);
int dk_ib_post_send(struct ib_qp *qp, const struct ib_send_wr *wr,
		    const struct ib_send_wr **bad);
int dk_ib_post_recv(struct ib_qp *qp, const struct ib_recv_wr *wr);

int dk_sg_map_pages(struct ib_device *dev, struct sg_table *sgt,
		    struct page **pages, u32 count, size_t length);
void dk_sg_unmap(struct ib_device *dev, struct sg_table *sgt);
int dk_ib_map_mr(struct ib_mr *mr, struct scatterlist *sg, int nents, u64 iova,
		 struct dk_mr_key *key);
int dk_ib_dereg_mr(struct ib_mr *mr);

struct rdma_cm_id *dk_rdma_create_id(rdma_cm_event_handler handler, void *context);
size_t dk_rdma_addr(const struct rdma_cm_id *id, bool peer, u8 *to);
int dk_rdma_create_qp(struct rdma_cm_id *id, struct ib_pd *pd,
		      const struct dk_qp_param *param);
int dk_rdma_connect(struct rdma_cm_id *id, const struct dk_conn_param *param);
int dk_rdma_accept(struct rdma_cm_id *id, const struct dk_conn_param *param);
int dk_rdma_reject(struct rdma_cm_id *id, const void *data, u8 len);
void dk_rdma_event(struct rdma_cm_id *id, struct rdma_cm_event *event,
		   struct dk_cm_event *to);

#endif
