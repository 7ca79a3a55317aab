/** Every limit of a door, with its default. Nothing that a peer controls goes beyond them. */

/** From accept until the Transport is handed over: TLS handshake, HTTP request, each on its own. */
export const HANDSHAKE_DEADLINE_MS = 10_000;

/**
 * Open connections of one door. Far above what file descriptors usually allow; set it to protect a
 * small machine.
 */
export const CONNECTIONS_MAX = 1_000_000;

/**
 * Connections that the kernel holds before they are accepted (Linux cuts it to
 * `net.core.somaxconn`).
 */
export const BACKLOG = 2_048;

/**
 * A PROXY protocol header, all of it. Version 1 has its own bound of 107 bytes from the
 * specification.
 */
export const PROXY_HEADER_BYTES_MAX = 4_096;

/** From accept until the PROXY protocol header is complete. */
export const PROXY_HEADER_DEADLINE_MS = 5_000;

/** A peer that closed its half gets this long to take what is still on its way to it. */
export const HALF_OPEN_DEADLINE_MS = 10_000;

/** A peer that sent what WebSocket doors do not take gets this long to answer our Close frame. */
export const REFUSED_FRAME_DEADLINE_MS = 1_000;

/**
 * Bytes of one WebSocket message, `maxPayload` of `ws`: one packet of 1 MiB and what was glued to
 * it.
 */
export const WEBSOCKET_MAX_PAYLOAD = 2 * 1_024 * 1_024;

/** Longer writes leave in several frames, so that no peer's own `maxPayload` stands in the way. */
export const WEBSOCKET_FRAME_BYTES_MAX = 256 * 1_024;

/**
 * WebSocket pings are not answered while more than this waits to be sent: pings must not fill our
 * memory.
 */
export const PONG_BACKLOG_BYTES_MAX = 16 * 1_024;

/** Bytes of the HTTP request that asks for a WebSocket. */
export const HTTP_HEADER_BYTES_MAX = 16 * 1_024;

/**
 * TCP keep-alive starts after this much silence, so that a vanished peer without MQTT Keep Alive
 * goes away.
 */
export const KEEP_ALIVE_INITIAL_DELAY_MS = 60_000;

/** The connecting side: name look-up, connect, TLS handshake, WebSocket upgrade, all together. */
export const CONNECT_DEADLINE_MS = 30_000;

/**
 * What the system allows for the path of a unix socket (`sun_path`, without its final NUL): 107 on
 * Linux, 103 on macOS.
 */
export const UNIX_PATH_BYTES_MAX = process.platform === 'darwin' ? 103 : 107;
