/** Real clients with only their base URL changed, against substitutes for the APIs that they were made for. */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { Octokit } from "octokit";
import OpenAI from "openai";
import { Agent, request as undiciRequest } from "undici";
import { describe, expect, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.ts";
import { PROXY_KEY, startGateway } from "../support/gateway.ts";
import { bodyOf, startUpstream } from "../support/upstream.ts";

const run = promisify(execFile);
const hasCurl = await run("curl", ["--version"]).then(
  () => true,
  () => false,
);
if (!hasCurl) console.warn("SKIPPED: the tests with curl; install Debian's package curl to run them");

const sha256 = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");

describe.skipIf(!hasCurl)("curl", () => {
  test("curl reaches the echo service without any configuration", async () => {
    const gateway = await startGateway();
    const { stdout } = await run("curl", ["-sS", `${gateway.url}/proxy/echo/hello?x=1`]);
    expect(JSON.parse(stdout)).toMatchObject({ method: "GET", path: "/hello", query: { x: "1" } });
  });

  test("curl can send its key in each of the three forms, and the 401 without a key names them", async () => {
    const gateway = await startGateway({ env: { PROXY_API_KEY: PROXY_KEY } });
    const url = `${gateway.url}/proxy/echo/`;
    const status = async (...words: string[]) =>
      (await run("curl", ["-sS", "-o", "/dev/null", "-w", "%{http_code}", ...words])).stdout;
    expect(await status("-H", `Authorization: Bearer ${PROXY_KEY}`, url)).toBe("200");
    expect(await status("-H", `x-api-key: ${PROXY_KEY}`, url)).toBe("200");
    expect(await status(`${url}?api_key=${PROXY_KEY}`)).toBe("200");
    expect(await status(url)).toBe("401");
  });

  test("curl uploads 5 MiB with Expect: 100-continue, byte for byte", async () => {
    const gateway = await startGateway();
    const body = randomBytes(5 * 1024 * 1024);
    const file = join(tmpdir(), `byteproxy-upload-${process.pid}`);
    writeFileSync(file, body);
    const { stdout } = await run("curl", [
      ...["-sS", "-T", file, "-H", "Expect: 100-continue", `${gateway.url}/proxy/echo/up`],
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ method: "PUT", body: { size: body.length, sha256: sha256(body) } });
    expect(JSON.parse(stdout).headers).not.toHaveProperty("expect");
  });

  test("curl's DELETE with a chunked body arrives as one well-framed request", async () => {
    const gateway = await startGateway();
    const { stdout } = await run("curl", [
      ...["-sS", "-X", "DELETE", "-H", "Transfer-Encoding: chunked", "-d", "four"],
      `${gateway.url}/proxy/echo/thing`,
    ]);
    expect(JSON.parse(stdout)).toMatchObject({
      method: "DELETE",
      body: { size: 4, sha256: sha256(Buffer.from("four")) },
    });
  });
});

describe("Node's fetch and undici", () => {
  test("fetch and undici read a gzip response that the gateway relays unchanged", async () => {
    const { gzipSync } = await import("node:zlib");
    const packed = gzipSync("hello ".repeat(1000));
    const upstream = await startUpstream((_, res) => {
      res.setHeader("content-encoding", "gzip");
      res.end(packed);
    });
    const gateway = await startGateway({ services: { api: { baseUrl: upstream.url } } });
    expect(await (await fetch(`${gateway.url}/proxy/api/`)).text()).toBe("hello ".repeat(1000));
    const raw = await undiciRequest(`${gateway.url}/proxy/api/`);
    expect(raw.headers["content-encoding"]).toBe("gzip");
    expect(Buffer.from(await raw.body.arrayBuffer()).equals(packed)).toBe(true);
  });

  test("undici pipelines requests and gets their responses in order", async () => {
    const gateway = await startGateway();
    const agent = new Agent({ pipelining: 10, connections: 1 });
    onTestFinished(() => agent.destroy());
    const responses = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const response = await undiciRequest(`${gateway.url}/proxy/echo/${i}`, { dispatcher: agent });
        return ((await response.body.json()) as { path: string }).path;
      }),
    );
    expect(responses).toEqual(Array.from({ length: 20 }, (_, i) => `/${i}`));
  });

  test("fetch streams a request body of unknown length", async () => {
    const gateway = await startGateway();
    const chunks = ["a", "bb", "ccc"];
    const stream = new ReadableStream({
      pull(controller) {
        const chunk = chunks.shift();
        if (chunk === undefined) controller.close();
        else controller.enqueue(Buffer.from(chunk));
      },
    });
    const response = await fetch(`${gateway.url}/proxy/echo/`, {
      method: "POST",
      body: stream,
      duplex: "half",
    } as RequestInit);
    expect(await response.json()).toMatchObject({ body: { size: 6, sha256: sha256(Buffer.from("abbccc")) } });
  });
});

describe("octokit", () => {
  test("octokit pages through a list by Link headers, and every request goes through the gateway", async () => {
    const seen: string[] = [];
    const upstream = await startUpstream((req, res) => {
      seen.push(`${req.headers.authorization} ${req.url}`);
      const page = Number(new URL(req.url as string, "http://x").searchParams.get("page") ?? 1);
      if (page < 3) {
        const origin = `http://${req.headers.host}`;
        res.setHeader("link", `<${origin}/repos/a/b/issues?per_page=2&page=${page + 1}>; rel="next"`);
      }
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify([{ id: page * 2 - 1 }, { id: page * 2 }]));
    });
    const gateway = await startGateway({
      env: { GITHUB_TOKEN: "github-token-for-tests", PROXY_API_KEY: PROXY_KEY },
      services: { github: { baseUrl: upstream.url, auth: { type: "bearer", tokenEnvVar: "GITHUB_TOKEN" } } },
    });
    const octokit = new Octokit({ auth: PROXY_KEY, baseUrl: `${gateway.url}/proxy/github` });
    const issues = await octokit.paginate("GET /repos/{owner}/{repo}/issues", { owner: "a", repo: "b", per_page: 2 });
    expect(issues.map((issue) => issue.id)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(seen).toEqual([
      "Bearer github-token-for-tests /repos/a/b/issues?per_page=2",
      "Bearer github-token-for-tests /repos/a/b/issues?per_page=2&page=2",
      "Bearer github-token-for-tests /repos/a/b/issues?per_page=2&page=3",
    ]);
  });

  test("octokit writes, and reads an error of GitHub and one of the gateway as a RequestError", async () => {
    const upstream = await startUpstream(async (req, res) => {
      res.setHeader("content-type", "application/json");
      if (req.method === "POST") res.writeHead(201).end(await bodyOf(req));
      else res.writeHead(422).end(JSON.stringify({ message: "Validation Failed" }));
    });
    const gateway = await startGateway({
      env: { PROXY_API_KEY: PROXY_KEY },
      services: { github: { baseUrl: upstream.url } },
    });
    const octokit = new Octokit({
      auth: PROXY_KEY,
      baseUrl: `${gateway.url}/proxy/github`,
      retry: { enabled: false },
      throttle: { enabled: false },
    });
    const repository = { owner: "a", repo: "b" };
    const { data } = await octokit.rest.issues.create({ ...repository, title: "größe" });
    expect(data).toEqual({ title: "größe" });
    await expect(octokit.rest.issues.get({ ...repository, issue_number: 1 })).rejects.toMatchObject({
      status: 422,
      response: { data: { message: "Validation Failed" } },
    });
    const stranger = new Octokit({
      auth: "wrong-key-0123456789",
      baseUrl: `${gateway.url}/proxy/github`,
      retry: { enabled: false },
      throttle: { enabled: false },
    });
    await expect(stranger.rest.issues.get({ ...repository, issue_number: 1 })).rejects.toMatchObject({
      status: 401,
      response: { data: { code: "INVALID_API_KEY" } },
    });
  });
});

describe("openai", () => {
  const startOpenAi = async (handler: Parameters<typeof startUpstream>[0]) => {
    const upstream = await startUpstream(handler);
    const gateway = await startGateway({
      env: { OPENAI_API_KEY: "sk-upstream-secret", PROXY_API_KEY: PROXY_KEY },
      services: {
        openai: { baseUrl: `${upstream.url}/v1`, auth: { type: "bearer", tokenEnvVar: "OPENAI_API_KEY" } },
      },
    });
    const client = new OpenAI({ apiKey: PROXY_KEY, baseURL: `${gateway.url}/proxy/openai`, maxRetries: 0 });
    return { upstream, gateway, client };
  };

  test("openai streams a completion token by token, with the upstream's key instead of the gateway's", async () => {
    let release: () => void = () => {};
    const { upstream, client } = await startOpenAi(async (req, res) => {
      const body = JSON.parse((await bodyOf(req)).toString()) as { messages: unknown[] };
      expect(body.messages).toHaveLength(1);
      res.setHeader("content-type", "text/event-stream");
      res.write(`data: ${JSON.stringify({ choices: [{ delta: { content: "Hel" } }] })}\n\n`);
      release = () => {
        res.write(`data: ${JSON.stringify({ choices: [{ delta: { content: "lo" } }] })}\n\n`);
        res.end("data: [DONE]\n\n");
      };
    });
    const stream = await client.chat.completions.create({
      model: "gpt-test",
      messages: [{ role: "user", content: "hi" }],
      stream: true,
    });
    const tokens: string[] = [];
    for await (const chunk of stream) {
      tokens.push(chunk.choices[0]?.delta.content ?? "");
      // The first token is here while the upstream still holds the second one back.
      if (tokens.length === 1) release();
    }
    expect(tokens).toEqual(["Hel", "lo"]);
    expect(upstream.requests[0]?.headers.authorization).toBe("Bearer sk-upstream-secret");
    expect(upstream.requests[0]?.url).toBe("/v1/chat/completions");
  });

  test("openai ends the upstream's request when it aborts a stream", async () => {
    const { upstream, client, gateway } = await startOpenAi((_, res) => {
      res.setHeader("content-type", "text/event-stream");
      res.write(`data: ${JSON.stringify({ choices: [{ delta: { content: "x" } }] })}\n\n`);
    });
    const stream = await client.chat.completions.create({ model: "m", messages: [], stream: true });
    for await (const _ of stream) break;
    await eventually(() => upstream.sockets.size === 0, "the upstream's socket to close");
    await eventually(() => gateway.exchanges().some((line) => line.outcome === "client-left" && line.status === 499));
  });

  test("openai uploads a file of 8 MB as multipart, byte for byte", async () => {
    const file = randomBytes(8_000_000);
    let received: Buffer = Buffer.alloc(0);
    const { client } = await startOpenAi(async (req, res) => {
      received = await bodyOf(req);
      res.setHeader("content-type", "application/json");
      res.end(JSON.stringify({ id: "file-1", object: "file" }));
    });
    const uploaded = await client.files.create({ file: new File([file], "a.bin"), purpose: "assistants" });
    expect(uploaded.id).toBe("file-1");
    expect(received.includes(file)).toBe(true);
  });

  test("openai waits as long as the upstream's 429 says, and sends the request again", async () => {
    let requestCount = 0;
    const { upstream, gateway } = await startOpenAi((_, res) => {
      requestCount++;
      res.setHeader("content-type", "application/json");
      if (requestCount === 1)
        res.writeHead(429, { "retry-after-ms": "5" }).end(JSON.stringify({ error: { message: "slow" } }));
      else res.end(JSON.stringify({ object: "list", data: [{ id: "m" }] }));
    });
    const client = new OpenAI({ apiKey: PROXY_KEY, baseURL: `${gateway.url}/proxy/openai`, maxRetries: 1 });
    expect((await client.models.list()).data).toEqual([{ id: "m" }]);
    expect(upstream.requests).toHaveLength(2);
  });
});
