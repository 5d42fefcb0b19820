//go:build ignore

// Input of "go tool cgo -godefs": what layout.go takes from toe_shm.h.

package shm

// #include "toe_shm.h"
import "C"

// Shared structures; see toe_shm.h for the meaning and the writer of each field.
type (
	Status       C.struct_toe_shm_status
	WorkerStatus C.struct_toe_shm_worker_status
	Header       C.struct_toe_shm_region
	Cmd          C.struct_toe_shm_cmd
	CmdQ         C.struct_toe_shm_cmdq
	EQ           C.struct_toe_shm_eq
	Loan         C.struct_toe_shm_loan
	Accept       C.struct_toe_shm_accept
	Slot         C.struct_toe_shm_slot
	AddrPrefix   C.struct_toe_shm_addr
	More         C.struct_toe_shm_more
	Msg          C.struct_toe_shm_msg
)

// Sizes in octets.
const (
	SizeofStatus = C.sizeof_struct_toe_shm_status
	SizeofHeader = C.sizeof_struct_toe_shm_region
	SizeofCmdQ   = C.sizeof_struct_toe_shm_cmdq
	SizeofEQ     = C.sizeof_struct_toe_shm_eq
	SizeofLoan   = C.sizeof_struct_toe_shm_loan
	SizeofAccept = C.sizeof_struct_toe_shm_accept
	SizeofSlot   = C.sizeof_struct_toe_shm_slot
	SizeofMsg    = C.sizeof_struct_toe_shm_msg
)

// Magic, version and limits.
const (
	Magic       = C.TOE_SHM_MAGIC
	ABI         = C.TOE_SHM_ABI
	ChunkShift  = C.TOE_CHUNK_SHIFT
	ChunkBytes  = C.TOE_CHUNK_BYTES
	DirInline   = C.TOE_DIR_INLINE
	DirChunk    = C.TOE_DIR_CHUNK
	DirWriting  = C.TOE_DIR_WRITING
	MaxWorkers  = C.TOE_MAX_WORKERS
	MaxEQs      = C.TOE_MAX_EQS
	EQOwn       = C.TOE_EQ_OWN
	EQEntries   = C.TOE_EQ_ENTRIES
	CmdEntries  = C.TOE_CMD_ENTRIES
	LoanEntries = C.TOE_LOAN_ENTRIES
	TokenBytes  = C.TOE_TOKEN_BYTES
	MaxAddrs    = C.TOE_MAX_ADDRS
	MaxMsgFDs   = C.TOE_MSG_MAX_FDS
	EORs        = C.TOE_EORS

	LockContended = C.TOE_LOCK_CONTENDED
)

// Commands.
const (
	OpActOpenReq    = C.TOE_OP_ACT_OPEN_REQ
	OpPassOpenReq   = C.TOE_OP_PASS_OPEN_REQ
	OpPassAcceptRpl = C.TOE_OP_PASS_ACCEPT_RPL
	OpTxData        = C.TOE_OP_TX_DATA
	OpRxDataAck     = C.TOE_OP_RX_DATA_ACK
	OpShutdown      = C.TOE_OP_SHUTDOWN
	OpCloseConReq   = C.TOE_OP_CLOSE_CON_REQ
	OpCloseShared   = C.TOE_OP_CLOSE_SHARED
	OpAbortReq      = C.TOE_OP_ABORT_REQ
	OpSetTCBField   = C.TOE_OP_SET_TCB_FIELD
	OpTxCreditReq   = C.TOE_OP_TX_CREDIT_REQ
	OpSlotReturn    = C.TOE_OP_SLOT_RETURN

	TxMore = C.TOE_TX_MORE
	ShutRD = C.TOE_SHUT_RD
	ShutWR = C.TOE_SHUT_WR
)

// Options of OpSetTCBField.
const (
	OptNoDelay     = C.TOE_OPT_NODELAY
	OptCork        = C.TOE_OPT_CORK
	OptKeepalive   = C.TOE_OPT_KEEPALIVE
	OptKeepIdle    = C.TOE_OPT_KEEPIDLE
	OptKeepIntvl   = C.TOE_OPT_KEEPINTVL
	OptKeepCnt     = C.TOE_OPT_KEEPCNT
	OptRcvBuf      = C.TOE_OPT_RCVBUF
	OptQuickAck    = C.TOE_OPT_QUICKACK
	OptUserTimeout = C.TOE_OPT_USER_TIMEOUT
	OptMaxSeg      = C.TOE_OPT_MAXSEG
	OptLinger2     = C.TOE_OPT_LINGER2
	OptSndBuf      = C.TOE_OPT_SNDBUF

	OptCC            = C.TOE_OPT_CC
	OptMaxPacingRate = C.TOE_OPT_MAX_PACING_RATE
	OptNotSentLowat  = C.TOE_OPT_NOTSENT_LOWAT
	OptPMTUDiscover  = C.TOE_OPT_PMTU_DISCOVER
	OptFastOpen      = C.TOE_OPT_FASTOPEN
	OptTOS           = C.TOE_OPT_TOS
	OptTTL           = C.TOE_OPT_TTL
	OptFastOpenBare  = C.TOE_OPT_FASTOPEN_BARE
	OptSynRetries    = C.TOE_OPT_SYN_RETRIES
	OptRcvClamp      = C.TOE_OPT_RCV_CLAMP
	OptSignals       = C.TOE_OPT_SIGNALS
	OptDeferAccept   = C.TOE_OPT_DEFER_ACCEPT

	FastOpenUse  = C.TOE_FASTOPEN_USE
	FastOpenHold = C.TOE_FASTOPEN_HOLD
	FastOpenBare = C.TOE_FASTOPEN_BARE

	SignalURG = C.TOE_SIGNAL_URG
	SignalIO  = C.TOE_SIGNAL_IO
)

// Congestion control.
const (
	CCDefault = C.TOE_CC_DEFAULT
	CCReno    = C.TOE_CC_RENO
	CCCubic   = C.TOE_CC_CUBIC
	CCDCTCP   = C.TOE_CC_DCTCP
	CCBBR     = C.TOE_CC_BBR
)

// Slot states, and the flags of the hot line.
const (
	SlotFree        = C.TOE_SLOT_FREE
	SlotLoaned      = C.TOE_SLOT_LOANED
	SlotOpening     = C.TOE_SLOT_OPENING
	SlotDeclined    = C.TOE_SLOT_DECLINED
	SlotSynSent     = C.TOE_SLOT_SYN_SENT
	SlotEstablished = C.TOE_SLOT_ESTABLISHED
	SlotListen      = C.TOE_SLOT_LISTEN
	SlotClosed      = C.TOE_SLOT_CLOSED

	ReasonSteer    = C.TOE_REASON_STEER
	ReasonShow     = C.TOE_REASON_SHOW
	ReasonNoBufs   = C.TOE_REASON_NO_BUFS
	ReasonInUse    = C.TOE_REASON_IN_USE
	ReasonLoopback = C.TOE_REASON_LOOPBACK

	RxEOF    = C.TOE_RX_EOF
	RxReset  = C.TOE_RX_RESET
	RxFIN    = C.TOE_RX_FIN
	TxClosed = C.TOE_TX_CLOSED
)

// Messages of the control socket.
const (
	MsgHello   = C.TOE_MSG_HELLO
	MsgAttach  = C.TOE_MSG_ATTACH
	MsgEQAlloc = C.TOE_MSG_EQ_ALLOC
	MsgEQFree  = C.TOE_MSG_EQ_FREE
	MsgProbe   = C.TOE_MSG_PROBE
	MsgInfo    = C.TOE_MSG_INFO
	MsgNoSlot  = C.TOE_MSG_NO_SLOT
	MsgDetach  = C.TOE_MSG_DETACH
	MsgBye     = C.TOE_MSG_BYE
)
