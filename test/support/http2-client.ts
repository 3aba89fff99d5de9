/** Requests over HTTP/2, with node:http2's client. */
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type OutgoingHttpHeaders } from "node:http2";
import { onTestFinished } from "vitest";

export interface Http2Response {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly trailers: Record<string, string | string[] | undefined>;
  /** Of each interim response. */
  readonly interim: Record<string, string | string[] | undefined>[];
  readonly body: Buffer;
  /** Of the RST_STREAM that ended the response; 0 where it ended by itself. */
  readonly reset: number;
}

/** A connection whose server's certificate is not verified. It is destroyed at the end of the test. */
export async function openSession(url: string): Promise<ClientHttp2Session> {
  const session = connect(url, { rejectUnauthorized: false });
  session.on("error", () => {});
  onTestFinished(() => session.destroy());
  await new Promise((resolve, reject) => session.once("connect", resolve).once("error", reject));
  return session;
}

/** Resolves when the stream is closed, also where it was reset. */
export async function send(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders,
  body?: string | Buffer,
): Promise<Http2Response> {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return responseOf(stream);
}

export async function responseOf(stream: ClientHttp2Stream): Promise<Http2Response> {
  const received = { headers: {}, trailers: {}, interim: [] as Http2Response["interim"] };
  const chunks: Buffer[] = [];
  stream.on("headers", (fields) => received.interim.push(fields));
  stream.on("response", (fields) => Object.assign(received, { headers: fields }));
  stream.on("trailers", (fields) => Object.assign(received, { trailers: fields }));
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("error", () => {});
  if (!stream.closed) await new Promise((resolve) => stream.once("close", resolve));
  const { ":status": status = 0 } = received.headers as { ":status"?: number };
  return { ...received, status, body: Buffer.concat(chunks), reset: stream.rstCode ?? 0 };
}
