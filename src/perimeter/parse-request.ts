/**
 * A request that nobody sent, read by the parser that reads those that somebody does: for the dry run.
 * Invariant: it reaches no socket, and what the parser would refuse is refused here in the same way.
 */
import { type IncomingMessage, ServerResponse } from "node:http";
import { duplexPair } from "node:stream";
import { GatewayError } from "../errors.ts";
import { methodRefused } from "./framing.ts";
import { createParser, parserRefusal } from "./parser.ts";

/** Text for one request line and its header lines: without CR, LF and what is no Latin-1. */
export interface RequestHead {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  /** Names and values. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Of the client that would have sent it. */
  readonly address: string;
}

export interface ParsedRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Lets go of both. */
  end(): void;
}

/** Nothing is waited for. */
const NO_TIMES = { keepAliveTimeoutMs: 0, headersTimeoutMs: 0 };

export async function parseRequest(head: RequestHead): Promise<ParsedRequest | GatewayError> {
  const [client, server] = duplexPair();
  Object.defineProperty(server, "remoteAddress", { value: head.address });
  const end = () => {
    client.destroy();
    server.destroy();
  };
  const parsed = await new Promise<ParsedRequest | GatewayError>((resolve) => {
    const onRequest = (req: IncomingMessage, res: ServerResponse) => resolve({ req, res, end });
    const parser = createParser(NO_TIMES, onRequest);
    parser.on("checkExpectation", () => resolve(new GatewayError("EXPECTATION_FAILED")));
    parser.on("connect", () => resolve(methodRefused("CONNECT")));
    parser.on("clientError", (error: NodeJS.ErrnoException) => resolve(parserRefusal(error.code)));
    // The listener makes an answer for it in the same way; here nothing is ever written to it.
    parser.on("upgrade", (req: IncomingMessage) => resolve({ req, res: new ServerResponse(req), end }));
    // Whatever else it may do with a head that it does not understand.
    server.once("close", () => resolve(parserRefusal(undefined)));
    parser.emit("connection", server);
    const lines = head.headers.map(([name, value]) => `${name}: ${value}\r\n`);
    client.write(Buffer.from(`${head.method} ${head.target} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1"));
  });
  if (parsed instanceof GatewayError) end();
  return parsed;
}
