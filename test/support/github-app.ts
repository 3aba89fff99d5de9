/**
 * A stand-in for the part of GitHub that a GitHub App uses, as strict as GitHub: it verifies the app's token, and its API accepts
 * only tokens that it has issued.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type JWTPayload, jwtVerify } from "jose";
import type { KeyPair } from "./keys.ts";
import { bodyOf, startUpstream } from "./upstream.ts";

export const APP_ID = "Iv23liTheApp";

export interface Installation {
  readonly id: number;
  readonly kind: "users" | "orgs";
  readonly suspended?: boolean;
}

export type GithubAnswer = (res: ServerResponse) => void;

/** @param basePath of its REST API: `/api/v3` for GitHub Enterprise Server. */
export async function startGithub(key: KeyPair, basePath = "", server?: Parameters<typeof startUpstream>[1]) {
  const installations = new Map<string, Installation>();
  /** What each token is for. */
  const tokens = new Map<string, unknown>();
  /** Of the endpoints of the app. */
  const asked: string[] = [];
  const claims: JWTPayload[] = [];
  const bodies: unknown[] = [];
  const state: { answer: GithubAnswer | undefined; lifeMs: number } = { answer: undefined, lifeMs: 3_600_000 };

  const json = (res: ServerResponse, status: number, body: unknown) => {
    res.writeHead(status, { "content-type": "application/json; charset=utf-8" });
    res.end(JSON.stringify(body));
  };

  async function isApp({ headers }: IncomingMessage): Promise<boolean> {
    const token = /^Bearer (\S+)$/.exec(headers.authorization ?? "")?.[1] ?? "";
    try {
      const verified = await jwtVerify(token, key.publicKey, { algorithms: ["RS256"], issuer: APP_ID });
      const { iat = 0, exp = 0 } = verified.payload;
      const now = Date.now() / 1_000;
      claims.push(verified.payload);
      return iat <= now - 30 && exp <= now + 600 && exp - iat <= 600;
    } catch {
      return false;
    }
  }

  async function issue(req: IncomingMessage, res: ServerResponse, id: number): Promise<void> {
    const installation = [...installations.values()].find((each) => each.id === id);
    if (installation === undefined) return json(res, 404, { message: "Not Found" });
    if (installation.suspended)
      return json(res, 403, { message: "This installation has been suspended", status: "403" });
    const text = (await bodyOf(req)).toString();
    const { repositories, permissions = { contents: "write", metadata: "read" }, ...others } = JSON.parse(text);
    bodies.push(JSON.parse(text));
    const isKnown = Object.keys(others).length === 0 && !repositories?.includes("unknown");
    if (!isKnown) return json(res, 422, { message: "There is at least one repository that does not exist" });
    // Longer than the 40 characters of older tokens.
    const token = `ghs_installation-${id}-token-${tokens.size + 1}-${"x".repeat(200)}`;
    tokens.set(token, { repositories, permissions });
    const expires_at = new Date(Date.now() + state.lifeMs).toISOString();
    json(res, 201, { token, expires_at, permissions, repository_selection: "selected" });
  }

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const path = (req.url ?? "").startsWith(`${basePath}/`) ? (req.url ?? "").slice(basePath.length) : "";
    const find = /^\/(users|orgs)\/([^/]+)\/installation$/.exec(path);
    const create = /^\/app\/installations\/(\d+)\/access_tokens$/.exec(path);
    if (find === null && create === null) {
      const token = (req.headers.authorization ?? "").replace("Bearer ", "");
      return json(res, tokens.has(token) ? 200 : 401, { path });
    }
    asked.push(`${req.method} ${path}`);
    if (state.answer !== undefined) return state.answer(res);
    const { accept, "user-agent": agent } = req.headers;
    if (agent === undefined || accept !== "application/vnd.github+json")
      return json(res, 403, { message: "Forbidden" });
    if (!(await isApp(req))) return json(res, 401, { message: "A JSON web token could not be decoded" });
    if (create !== null && req.method === "POST") return issue(req, res, Number(create[1]));
    const installation = installations.get(find?.[2] ?? "");
    if (find === null || installation?.kind !== find[1]) return json(res, 404, { message: "Not Found" });
    json(res, 200, { id: installation.id, suspended_at: installation.suspended ? "2026-01-01T00:00:00Z" : null });
  }

  const upstream = await startUpstream((req, res) => void handle(req, res), server);
  return {
    ...{ installations, tokens, asked, claims, bodies, state, requests: upstream.requests, port: upstream.port },
    baseUrl: `${upstream.url}${basePath}/`,
  };
}
