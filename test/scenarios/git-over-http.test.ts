/** git over HTTP with Basic, against git's own server program as a stand-in for GitHub: only the remote's URL and the password change. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { tempFolder } from "../config/temp-folder.ts";
import { PROXY_KEY } from "../support/gateway.ts";
import { startStandIn } from "../support/stand-in.ts";

const SECRET = "github_pat_secretofthevendor0123456789";
const run = promisify(execFile);

/** Without the settings of this machine, and without a question on a terminal. */
const ENV = {
  PATH: process.env.PATH,
  HOME: "/nonexistent",
  GIT_CONFIG_NOSYSTEM: "1",
  GIT_TERMINAL_PROMPT: "0",
  ...{
    GIT_AUTHOR_NAME: "a",
    GIT_AUTHOR_EMAIL: "a@example.com",
    GIT_COMMITTER_NAME: "a",
    GIT_COMMITTER_EMAIL: "a@example.com",
  },
};
const git = async (...words: string[]) => (await run("git", words, { env: ENV })).stdout;

/** A bare repository `acme/web.git` with one commit; its large file makes a request and a response of many packets. */
function createRepository(): string {
  const root = tempFolder();
  const work = join(root, "work");
  const inWork = (...words: string[]) => execFileSync("git", ["-C", work, ...words], { env: ENV });
  execFileSync("git", ["init", "-q", "-b", "main", work], { env: ENV });
  writeFileSync(
    join(work, "a.txt"),
    Array.from({ length: 60_000 }, (_, i) => `line ${(i * 7_919) % 60_013}`).join("\n"),
  );
  inWork("add", "-A");
  inWork("commit", "-qm", "first");
  execFileSync("git", ["clone", "-q", "--bare", work, join(root, "acme/web.git")], { env: ENV });
  execFileSync("git", ["-C", join(root, "acme/web.git"), "config", "http.receivepack", "true"]);
  return root;
}

/** Runs `git http-backend` (https://git-scm.com/docs/git-http-backend) for one request. */
function serveGit(root: string, req: IncomingMessage, res: ServerResponse): void {
  const [path = "", query = ""] = (req.url ?? "").split("?");
  const backend = spawn("git", ["http-backend"], {
    env: {
      ...ENV,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: "1",
      PATH_INFO: path,
      QUERY_STRING: query,
      REQUEST_METHOD: req.method,
      REMOTE_USER: "x-access-token",
      CONTENT_TYPE: req.headers["content-type"] ?? "",
      HTTP_CONTENT_ENCODING: String(req.headers["content-encoding"] ?? ""),
      GIT_PROTOCOL: String(req.headers["git-protocol"] ?? ""),
    },
  });
  req.pipe(backend.stdin);
  const chunks: Buffer[] = [];
  backend.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
  backend.on("close", () => {
    const output = Buffer.concat(chunks);
    const end = output.indexOf("\r\n\r\n");
    const fields = output
      .subarray(0, end)
      .toString("latin1")
      .split("\r\n")
      .map((line) => line.split(": ") as [string, string]);
    const { Status: status = "200", ...headers } = Object.fromEntries(fields);
    res.writeHead(Number.parseInt(status, 10), headers).end(output.subarray(end + 4));
  });
}

async function startGit(secret = SECRET) {
  const root = createRepository();
  const standIn = await startStandIn("github-git", {
    env: { GITHUB_TOKEN: secret },
    accepts: ({ headers }) =>
      headers.authorization === `Basic ${Buffer.from(`x-access-token:${SECRET}`).toString("base64")}`,
    respond: (req, res) => serveGit(root, req, res),
    refuse: (_, res) => res.writeHead(401, { "www-authenticate": 'Basic realm="GitHub"' }).end(),
  });
  const remote = (userInfo: string) => `${standIn.url.replace("//", `//${userInfo}@`)}/acme/web.git`;
  return { ...standIn, remote, bare: join(root, "acme/web.git"), folder: join(tempFolder(), "clone") };
}

describe("git", () => {
  test("git clones, fetches and pushes with the gateway's key as the password", async () => {
    const { remote, folder, bare, accepted, refused, received } = await startGit();
    await git("clone", "-q", remote(`any:${PROXY_KEY}`), folder);
    expect(await git("-C", folder, "log", "--format=%s")).toBe("first\n");
    writeFileSync(join(folder, "b.txt"), "b".repeat(3_000_000).replaceAll("bbb", "abc"));
    await git("-C", folder, "add", "-A");
    await git("-C", folder, "commit", "-qm", "second");
    await git("-C", folder, "push", "-q");
    expect(await git("--git-dir", bare, "log", "--format=%s", "main")).toBe("second\nfirst\n");
    await git("-C", folder, "fetch", "-q");
    expect(accepted).toEqual(
      expect.arrayContaining([
        "GET /acme/web.git/info/refs?service=git-upload-pack",
        "POST /acme/web.git/git-upload-pack",
        "POST /acme/web.git/git-receive-pack",
      ]),
    );
    expect(refused).toEqual([]);
    received();
  }, 30_000);

  test.each([
    ["as the user name with x-oauth-basic", `${PROXY_KEY}:x-oauth-basic`],
    ["as the user name without a password", `${PROXY_KEY}:`],
    ["as the password without a user name", `:${PROXY_KEY}`],
    ["as the password of x-access-token", `x-access-token:${PROXY_KEY}`],
  ])("git lists the branches of a remote with the gateway's key %s", async (_, userInfo) => {
    const { remote, accepted, received } = await startGit();
    expect(await git("ls-remote", "--heads", remote(userInfo))).toMatch(/^[0-9a-f]{40}\trefs\/heads\/main\n$/);
    expect(accepted[0]).toBe("GET /acme/web.git/info/refs?service=git-upload-pack");
    received();
  });

  test("git asks its credential helper after the gateway's Basic challenge, and sends what the helper knows", async () => {
    const { url, accepted, refused, received } = await startGit();
    const helper = `!f() { test "$1" = get && echo username=any && echo password=${PROXY_KEY}; }; f`;
    const listed = await git("-c", `credential.helper=${helper}`, "ls-remote", "--heads", `${url}/acme/web.git`);
    expect(listed).toContain("refs/heads/main");
    expect(accepted.length).toBeGreaterThan(0);
    expect(refused).toEqual([]);
    received();
  });

  test("git reports a failed authentication for a wrong key, and for a secret that GitHub refuses", async () => {
    const { remote, received } = await startGit();
    await expect(git("ls-remote", remote("any:not-a-key-of-the-gateway"))).rejects.toThrow(/Authentication failed/);
    expect(received()).toBe("");
    const other = await startGit("github_pat_expired0123456789");
    await expect(git("ls-remote", other.remote(`any:${PROXY_KEY}`))).rejects.toThrow(/Authentication failed/);
    expect(other.accepted).toEqual([]);
    other.received();
  });
});
