/** nginx as a contestant: one process, reused connections to the origin, an access log in a file. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Certificate } from "./certificate.ts";
import { freePort, type Processes, type RunningServer } from "./processes.ts";
import type { Origin } from "./start-origin.ts";

const READY_MS = 5000;

export function isNginxInstalled(): boolean {
  return spawnSync("nginx", ["-v"], { stdio: "ignore" }).status === 0;
}

/** @param certificate it serves https with this one. */
export async function startNginx(
  processes: Processes,
  origin: Origin,
  certificate: Certificate | undefined,
): Promise<RunningServer> {
  const port = await freePort();
  const folder = join(processes.folder, `nginx-${port}`);
  mkdirSync(folder);
  writeFileSync(join(folder, "nginx.conf"), configuration(listen(port, certificate), origin));
  const args = ["-p", folder, "-c", "nginx.conf", "-e", "error.log"];
  const child = processes.start(args, { stdio: ["ignore", "inherit", "inherit"] }, "nginx");
  const deadline = performance.now() + READY_MS;
  while (!(await accepts(port))) {
    if (child.exitCode !== null || performance.now() > deadline) throw new Error(`nginx does not listen on ${port}`);
    await delay(10);
  }
  return { child, pid: child.pid, port };
}

function listen(port: number, certificate: Certificate | undefined): string {
  const address = `127.0.0.1:${port}`;
  if (certificate === undefined) return `listen ${address};`;
  const { certFile, keyFile } = certificate;
  return `listen ${address} ssl; ssl_certificate ${certFile}; ssl_certificate_key ${keyFile}; ssl_protocols TLSv1.3;`;
}

/** Connections are never closed after a number of requests, and the log is written in blocks, as the gateway does. */
function configuration(listening: string, { url, port: originPort, caFile }: Origin): string {
  const scheme = new URL(url).protocol;
  const tls = caFile === undefined ? "" : `proxy_ssl_verify on; proxy_ssl_trusted_certificate ${caFile};`;
  return `
daemon off;
master_process off;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log access.log combined buffer=32k flush=1s;
  client_body_temp_path client-bodies;
  proxy_temp_path responses;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  upstream origin {
    server 127.0.0.1:${originPort};
    keepalive 64;
    keepalive_requests 1000000000;
  }
  server {
    ${listening}
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_ssl_name localhost;
    ${tls}
    location / { proxy_pass ${scheme}//origin; }
    location /streams/ {
      proxy_buffering off;
      proxy_pass ${scheme}//origin;
    }
    location /websockets/ {
      proxy_set_header Connection upgrade;
      proxy_set_header Upgrade websocket;
      proxy_pass ${scheme}//origin;
    }
  }
}
`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true));
    socket.on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
