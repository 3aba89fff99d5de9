/**
 * Where the browser returns to at the end of a login (RFC 8252 section 7.3): a listener on a loopback address, for one request.
 * Invariant: only a request for its own name and path, with the state of this login, is accepted, and only once. A page of another site
 * can neither end the login nor send it a code.
 */
import { timingSafeEqual } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { listenAddresses } from "../config/hosts.ts";
import { CliFailure } from "./cli-failure.ts";

export interface RedirectListener {
  /** With the port that the system chose. */
  readonly redirectUri: string;
  /** Resolves to the parameters of the first request with the state. */
  received(state: string): Promise<URLSearchParams>;
  /** What the browser shows in the end. */
  show(title: string, text: string, isFailure?: boolean): void;
  close(): Promise<void>;
}

/** For all of them: a browser opens one or two connections. */
const CONNECTIONS_LIMIT = 16;

const NO_ADDRESS: readonly string[] = ["EADDRNOTAVAIL", "EAFNOSUPPORT"];

/** @param wanted `http://127.0.0.1/callback`: without a port, the system chooses it. @throws CliFailure */
export async function openRedirectListener(wanted: URL): Promise<RedirectListener> {
  const servers: Server[] = [];
  let state: string | undefined;
  let resolve: (parameters: URLSearchParams) => void = () => {};
  /** The request of the browser, which waits for the end of the login. */
  let accepted: ServerResponse | undefined;
  const redirectUri = new URL(wanted);
  const onRequest = (req: IncomingMessage, res: ServerResponse) => {
    const target = URL.canParse(req.url ?? "", wanted.href) ? new URL(req.url ?? "", wanted.href) : undefined;
    if (req.headers.host !== redirectUri.host || target?.pathname !== redirectUri.pathname) {
      return respond(res, 404, page("Not found", "This address is for the end of a login.", true));
    }
    if (req.method !== "GET") return respond(res, 405, page("Not allowed", "Only GET is allowed.", true));
    if (state === undefined || !isSame(target.searchParams.getAll("state"), state)) {
      return respond(res, 400, page("Not this login", "The request does not belong to the login that waits.", true));
    }
    if (accepted !== undefined) {
      return respond(res, 409, page("Already used", "This login has its response. Start another one.", true));
    }
    accepted = res;
    resolve(target.searchParams);
  };
  for (const address of listenAddresses(wanted.hostname)) {
    const server = createServer({ requestTimeout: 10_000 }, onRequest);
    server.maxConnections = CONNECTIONS_LIMIT;
    const isFirst = servers.length === 0;
    const problem = await listen(server, address, Number(redirectUri.port));
    if (problem === undefined) servers.push(server);
    // A machine may have no ::1. One where another process listens there would send it the redirect.
    else if (isFirst || !NO_ADDRESS.includes(problem)) {
      for (const opened of servers) opened.close();
      throw new CliFailure(1, [`The login cannot listen on ${redirectUri.host}: ${problem}.`]);
    }
    if (isFirst) redirectUri.port = String((server.address() as AddressInfo).port);
  }
  return {
    redirectUri: redirectUri.href,
    received: (expected) =>
      new Promise((settle) => {
        state = expected;
        resolve = settle;
      }),
    show(title, text, isFailure = false) {
      if (accepted !== undefined) respond(accepted, isFailure ? 400 : 200, page(title, text, isFailure));
    },
    async close() {
      const closed = servers.map((server) => new Promise((done) => server.close(done)));
      for (const server of servers) server.closeIdleConnections();
      // A browser that does not read its page must not keep the command alive.
      const timer = setTimeout(() => {
        for (const server of servers) server.closeAllConnections();
      }, 1_000);
      await Promise.all(closed);
      clearTimeout(timer);
    },
  };
}

/** Undefined for success, else a reason. */
function listen(server: Server, host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    server.once("error", ({ code }: NodeJS.ErrnoException) => resolve(String(code)));
    server.listen({ host, port }, () => resolve(undefined));
  });
}

function isSame(given: readonly string[], expected: string): boolean {
  const [one = "", ...others] = given;
  const [left, right] = [Buffer.from(one), Buffer.from(expected)];
  return others.length === 0 && left.length === right.length && timingSafeEqual(left, right);
}

function respond(res: ServerResponse, status: number, body: string): void {
  res.writeHead(status, {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    Connection: "close",
  });
  res.end(body);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};
const escaped = (text: string) => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? "");

function page(title: string, text: string, isFailure: boolean): string {
  const style = "body{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;padding:0 1rem}";
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>${escaped(title)}</title><style>${style}</style><main><h1>${escaped(title)}</h1><p${isFailure ? ' role="alert"' : ""}>${escaped(text)}</p></main></html>`;
}
