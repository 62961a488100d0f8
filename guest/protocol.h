/*
 * The protocol between the host (agent/) and the guest program (guest/). docs/PROTOCOL.md tells it
 * as prose: who opens which connection, what follows what, what neither side believes.
 *
 * A connection is a session: one process in the guest, with its input, output and fate. It is a
 * stream of messages both ways; each is a header of AGENT_HEADER bytes and a payload:
 *
 *	u32 length of the payload | u16 type | u16 stream (AGENT_OUTPUT only; else 0)
 *
 * Numbers are little-endian and not aligned. The fields of a payload follow each other without
 * gaps, and it ends with the last of them:
 *
 *	u8 u16 u32 u64	numbers
 *	str		u32 length | the bytes, none of them NUL | a NUL, which length does not count
 *	bytes		u32 length | the bytes
 *	T[]		u32 count | so many T
 *
 * What does not hold to this ends the session.
 */
#pragma once

#define AGENT_VERSION 1

/*
 * vsock ports: where the guest program finds its host (CID 2), and where it listens for further
 * sessions. Below 1024, so that in the guest only root listens there.
 */
#define AGENT_PORT	   1
#define AGENT_EXEC_PORT	   2
#define AGENT_PORTS_PORT   3 /* what listens in other machines: docs/PROTOCOL.md, "Ports" */
/* The first of the host's ports that SOCKET names. */
#define AGENT_SOCKETS_PORT 0x6d760000U

/* Limits, in bytes if nothing else is said. */
enum {
	AGENT_HEADER = 8,
	/* Payload of STDIN, of OUTPUT, and of all that is not named in the next line. */
	AGENT_DATA_MAX = 65536,
	AGENT_START_MAX = 4 << 20, /* payload of START and FILE */
	/* What may be sent as STDIN before the first STDIN_CREDIT. */
	AGENT_STDIN_WINDOW = 131072,
	AGENT_TEXT_MAX = 512,	 /* the text in FAILED */
	AGENT_ARGS_MAX = 65536,	 /* strings in argv, and in the environment */
	AGENT_GROUPS_MAX = 1024, /* additional groups */
	AGENT_RLIMITS_MAX = 16,
	AGENT_SECCOMP_MAX = 4096 * 8, /* the kernel's BPF_MAXINSNS instructions */
	AGENT_ADDRESSES_MAX = 16,     /* addresses, and routes, in NET */
	AGENT_DESCRIPTORS_MAX = 16,
	AGENT_SESSIONS_MAX = 64, /* at a time, in one guest */
	AGENT_NOTIFY_MAX = 4096, /* the text in NOTIFIED; as much as systemd takes */
	AGENT_PORTS_MAX = 128,	 /* ports of TCP that one side tells the other */
	AGENT_PORTS_MESSAGE = 4 + 3 * AGENT_PORTS_MAX,
	AGENT_SOCKETS_MAX = 32,
	AGENT_KEY = 16,
};

/*
 * The first byte that the host says on a connection to AGENT_PORTS_PORT, and what follows:
 *
 * LISTEN	messages both ways, each of which says all: { u16 port, u8 0: at the loopback
 *		interface, 1: at all addresses }[]. The guest's are the ports of TCP at which
 *		somebody listens there; the host's those at which the guest program is to listen
 * CALL		u16 port; then what is said at that port of the guest's loopback interface, both ways
 * WAIT		nothing, until the guest says u16 port: somebody has connected to that port, at which
 *		the guest program listens; then what he says and hears, both ways
 */
enum agent_ports {
	AGENT_PORTS_LISTEN = 'L',
	AGENT_PORTS_CALL = 'C',
	AGENT_PORTS_WAIT = 'W',
};

/*
 * The messages and their payloads.
 *
 * Both ways, and the first message:
 *
 * HELLO	u32 version; each side refuses another than its own
 *
 * Host to guest, in the first session only and before SETUP_DONE. They are carried out in the
 * order in which they come, and not answered; the first that fails is (FAILED).
 *
 * ROOT		once, before the next three: u8 kind, u8 AGENT_ROOT_*, u64 size of the overlay (0:
 *		half of the memory), str source (tag or device), str types (comma-separated; "":
 *		probe), str options
 * STANDARD	u32 AGENT_STANDARD_*: what programs expect to be mounted
 * MOUNT	u32 AGENT_MOUNT_*, str type ("bind", "none", or a file system's), str source, str
 *		file (one file or folder in what is mounted; "": all of it), str target, str
 *		options. A missing target is made. "none": the target is made, and propagates as the
 *		flags say, that is all
 * FILE		u32 mode, u32 AGENT_FILE_*, str path, bytes content
 * HOSTNAME	str name
 * NET		u8[6] MAC (all 0: by name), str name, u8[6] MAC that it takes on (all 0: leave),
 *		u8 AGENT_NET_*, u32 mtu (0: leave), addresses { u8 family, u8 prefix, u8[16]
 *		address }[], routes { u8 family, u8 prefix, u8[16] to, u8[16] gateway, u8[16] source
 *		(all 0: any), u32 metric (0: the kernel's), u8 AGENT_ROUTE_* }[]. IPv4 takes the
 *		first 4 of 16 bytes; a gateway of zeroes: on the link
 * CLOCK	u64 seconds since 1970, u32 nanoseconds
 * SYSCTL	str name (net.ipv4.ip_forward), str value
 * PIDS		u64 so many processes and threads of all sessions together, at most (0: any); they
 *		have a control group of their own from now on. Before MOUNT
 * GROUP	str file, str value: of that control group; what this kernel has not is passed over
 * DESCRIPTOR	u32 number (3 and up), u32 flags of open(2), u64 offset, str source (tag of a share), str
 *		file in it (or, without a source, in the root): what this session's process has open under that number; before
 *		PID_NAMESPACE
 * PID_NAMESPACE nothing: this session's process is to be process 1 of a namespace that all sessions'
 *		processes are in, and that /proc shows; once, after PIDS and before what is mounted
 *		below /proc
 * DEVICES	bytes struct bpf_insn[]: what that control group may do with devices, as the kernel's
 *		BPF_PROG_TYPE_CGROUP_DEVICE has it; passed over where it has not. After NODE
 * NODE		u32 mode with its type (a device or a FIFO), u32 major, u32 minor, u32 uid, u32 gid,
 *		str path. What is there is replaced, or hidden behind a mount outside of /dev
 * NOTIFY	str path: a datagram socket of the guest program's stands there from now on, over what is
 *		there; what is sent to it is said as NOTIFIED. Once
 * SOCKET	u32 port of the host's, u32 mode, u32 uid, u32 gid, bytes key (AGENT_KEY of them), str
 *		path: a stream socket stands there from now on, over what is there, and who connects to
 *		it is connected to that port, after the guest program has said the key there. At most
 *		AGENT_SOCKETS_MAX
 * SETUP_DONE	nothing; answered by READY, and other sessions are taken from now on
 *
 * NET may come in the first session once its process runs, too, with AGENT_NET_AGAIN; what fails then
 * is left. A further session may have PIDS and SETUP_DONE in the place of START: the limit is changed.
 *
 * Host to guest, in any session:
 *
 * START	see below; once. Answered by STARTED or FAILED
 * STDIN	the payload is input for the process; empty: the end of it
 * SIGNAL	u32 number, u8 AGENT_SIGNAL_*
 * RESIZE	u16 rows, u16 columns
 * BYE		nothing: EXITED or FAILED has been read. The guest closes the connection; in the
 *		first session, BYE or the end of the connection powers the machine off
 *
 * Guest to host:
 *
 * READY	nothing
 * STARTED	u32 pid in the guest
 * OUTPUT	the payload is output of the header's stream: 1 or 2; a terminal has only 1. Empty:
 *		nobody has the stream open any more while the process runs
 * STDIN_CREDIT	u32 so many more bytes of STDIN may be sent
 * STDIN_CLOSED	nothing: nobody reads the input any more, what comes is dropped
 * NOTIFIED	str text of a datagram, as far as its first NUL; longer ones are dropped. Between STARTED
 *		and EXITED, in the first session
 * EXITED	u8 1 if killed by a signal, u32 exit status or signal, u64 user and u64 system time
 *		in microseconds, u64 peak resident KiB. After all output; the last message
 * FAILED	u32 enum agent_failed, u32 errno (0: none), str text; the last message
 */
enum agent_message {
	AGENT_HELLO = 1,

	AGENT_ROOT = 16,
	AGENT_STANDARD,
	AGENT_MOUNT,
	AGENT_FILE,
	AGENT_HOSTNAME,
	AGENT_NET,
	AGENT_CLOCK,
	AGENT_SYSCTL,
	AGENT_SETUP_DONE,
	AGENT_PIDS,
	AGENT_PID_NAMESPACE,
	AGENT_DESCRIPTOR,
	AGENT_NODE,
	AGENT_GROUP,
	AGENT_DEVICES,
	AGENT_NOTIFY,
	AGENT_SOCKET,

	AGENT_START = 32,
	AGENT_STDIN,
	AGENT_SIGNAL,
	AGENT_RESIZE,
	AGENT_BYE,

	AGENT_READY = 48,
	AGENT_STARTED,
	AGENT_OUTPUT,
	AGENT_STDIN_CREDIT,
	AGENT_STDIN_CLOSED,
	AGENT_EXITED,
	AGENT_FAILED,
	AGENT_NOTIFIED,
};

enum { AGENT_IPV4 = 4, AGENT_IPV6 = 6 };
enum {
	AGENT_NET_REMOVE = 1, /* it is not needed: its card is taken from its driver */
	AGENT_NET_AGAIN = 2,  /* what it had of addresses and routes goes first */
};
enum { AGENT_ROUTE_ON_LINK = 1 }; /* the gateway is on the link, whatever the addresses say */

enum { AGENT_ROOT_VIRTIOFS = 1, AGENT_ROOT_BLOCK = 2 };
enum {
	AGENT_ROOT_OVERLAY = 1, /* what is below is never written; writes go to a tmpfs on top */
	/*
	 * The root takes no writes; with an overlay or from virtio-fs, from SETUP_DONE on: so mount
	 * points can be made.
	 */
	AGENT_ROOT_READ_ONLY = 2,
};

/* /proc and /dev (a devtmpfs) are there in any case: the guest program needs them. */
enum {
	AGENT_STANDARD_DEV = 1, /* /dev/pts; links: /dev/fd, /dev/stdin ... */
	AGENT_STANDARD_SYS = 2,
	AGENT_STANDARD_CGROUP = 4, /* cgroup2 on /sys/fs/cgroup */
	AGENT_STANDARD_RUN = 8,	   /* a tmpfs on /run */
	AGENT_STANDARD_TMP = 16,   /* a tmpfs on /tmp */
	AGENT_STANDARD_IPC = 32,   /* /dev/shm, /dev/mqueue */
	/* /dev without consoles and serial ports (tty0, ttyS0). */
	AGENT_STANDARD_NO_TERMINALS = 64,
};

enum {
	AGENT_MOUNT_READ_ONLY = 1,
	AGENT_MOUNT_NOSUID = 2,
	AGENT_MOUNT_NODEV = 4,
	AGENT_MOUNT_NOEXEC = 8,
	AGENT_MOUNT_NOATIME = 16,
	AGENT_MOUNT_RECURSIVE = 32, /* bind: with what is mounted below */
	AGENT_MOUNT_ON_FILE = 64,   /* a missing target is made as a file, not as a folder */
	AGENT_MOUNT_TRY = 128,	    /* what fails is passed over */
	AGENT_MOUNT_COPY_UP = 256,  /* a tmpfs: what is in the target is copied into it first */
	AGENT_MOUNT_DEVICES = 512,  /* on /dev: with the nodes and links that every container has */
	/* How mounts below it propagate; with AGENT_MOUNT_RECURSIVE in all that is mounted there. */
	AGENT_MOUNT_SHARED = 1024,
	AGENT_MOUNT_SLAVE = 2048,
	AGENT_MOUNT_PRIVATE = 4096,
	AGENT_MOUNT_UNBINDABLE = 8192,
	AGENT_MOUNT_SYNC = 16384,
	AGENT_MOUNT_DIRSYNC = 32768,
	AGENT_MOUNT_NODIRATIME = 65536,
	AGENT_MOUNT_STRICTATIME = 131072,
};

enum {
	AGENT_FILE_TRY = 1, /* what fails is passed over */
	/* Hide what is there behind a mount, rather than replace it: for a root that is kept. */
	AGENT_FILE_OVER = 2,
	AGENT_FILE_ABSENT = 4, /* only where there is none */
};

enum {
	AGENT_SIGNAL_PROCESS = 0,
	AGENT_SIGNAL_GROUP = 1,	    /* the process group that the session's process leads */
	AGENT_SIGNAL_EVERYBODY = 2, /* all processes in the guest */
};

/*
 * AGENT_START, in this order:
 *
 *	u32	AGENT_START_*
 *	u16	rows, u16 columns of the terminal
 *	str	cwd ("": the root)
 *	str	user: USER or USER:GROUP, names or numbers, by the guest's /etc/passwd and
 *		/etc/group. "": uid and gid tell
 *	u32	uid, u32 gid
 *	u32[]	additional groups; after the named user's own
 *	u32	umask, u32 oom_score_adj (as i32): each only with its flag
 *	u64	capabilities: bounding, effective, inheritable, permitted, ambient; with their flag
 *	{ u32 resource, u64 soft, u64 hard }[]	limits
 *	bytes	seccomp filter: struct sock_filter, as the kernel has it; empty: none
 *	u32	flags for seccomp(2)
 *	str[]	argv, at least one
 *	str[]	environment; without HOME: HOME is added, from the guest's /etc/passwd
 *	str	control group, from that of PIDS on: /a/b; "": where this program is itself
 */
enum {
	AGENT_START_TERMINAL = 1, /* a pty as controlling terminal; else three pipes */
	AGENT_START_STDIN = 2,	  /* there will be input; else /dev/null (or a silent terminal) */
	AGENT_START_UMASK = 4,
	AGENT_START_OOM = 8,
	AGENT_START_CAPS = 16,
	AGENT_START_NO_NEW_PRIVS = 32,
	AGENT_START_MAKE_CWD = 64, /* a missing cwd is made */
};

/* Why there will be no EXITED. */
enum agent_failed {
	AGENT_FAILED_PROTOCOL = 1,   /* a message that cannot be, or not now; another version */
	AGENT_FAILED_SETUP,	     /* a message before SETUP_DONE could not be carried out */
	AGENT_FAILED_NOT_FOUND,	     /* the command: a shell says 127 */
	AGENT_FAILED_NOT_EXECUTABLE, /* the command: a shell says 126 */
	AGENT_FAILED_USER,	     /* no such user or group in the guest */
	AGENT_FAILED_START,	     /* anything else on the way to the command */
	AGENT_FAILED_BUSY,	     /* AGENT_SESSIONS_MAX sessions are there */
};
