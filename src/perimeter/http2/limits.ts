/** The limits of an HTTP/2 connection. All of them are set here: none is left to a default, which differs between versions of Node. */
import type { SecureServerOptions } from "node:http2";
import { HEADER_BYTES_LIMIT, HEADER_LINES_LIMIT } from "../framing.ts";

/** Streams that a client may have open at the same time. */
export const STREAMS_LIMIT = 100;

/** What one field adds to the size of a field section (RFC 9113 section 6.5.2). */
const FIELD_OVERHEAD = 32;

/** A longer list of fields resets its stream. A shorter one that is over the gateway's own limit gets a 431. */
const FIELDS_LIMIT = 2 * HEADER_LINES_LIMIT;

/** Resets of streams that a connection may have at once, and for each second thereafter; one over it closes the connection. */
export const RESET_BURST = 200;
export const RESETS_PER_SECOND = 33;

export interface SessionOptions extends SecureServerOptions {
  readonly maxOutstandingSettings: number;
  /** Of Node 24 and later: nghttp2's own count of the resets by clients. */
  readonly streamResetBurst: number;
  readonly streamResetRate: number;
}

/** For `performServerHandshake`. */
export const SESSION_OPTIONS: SessionOptions = {
  maxHeaderListPairs: FIELDS_LIMIT,
  // Bytes of a response's fields. An upstream's head of this size was accepted already.
  maxSendHeaderBlockLength: 262_144,
  maxDeflateDynamicTableSize: 4_096,
  // In a lifetime of a connection: frames that break the protocol, and streams over the limit before the client knew it.
  maxSessionInvalidFrames: 1_000,
  maxSessionRejectedStreams: 100,
  maxOutstandingPings: 10,
  maxOutstandingSettings: 10,
  maxSettings: 32,
  // Megabytes: the windows of all streams, and what waits to be sent.
  maxSessionMemory: 10,
  streamResetBurst: RESET_BURST,
  streamResetRate: RESETS_PER_SECOND,
  settings: {
    maxConcurrentStreams: STREAMS_LIMIT,
    // The largest section of fields that HTTP/1.1 would accept too.
    maxHeaderListSize: HEADER_BYTES_LIMIT + HEADER_LINES_LIMIT * FIELD_OVERHEAD,
    headerTableSize: 4_096,
    // Bytes that a client may send on one stream before they are read.
    initialWindowSize: 65_535,
    maxFrameSize: 16_384,
    enablePush: false,
    // RFC 8441: WebSockets.
    enableConnectProtocol: true,
  },
};
