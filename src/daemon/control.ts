/** The serving process's two ears: a control socket for `samepage status`, and, where asked for, Prometheus metrics over HTTP. */
import fs from 'node:fs'
import http from 'node:http'
import { controlSocket, makeRuntimeDirectory, removeDeadSockets } from './control-socket.ts'
import { removeAllDeadSockets } from './dead-sockets.ts'
import { Metrics } from './metrics.ts'
import { Status, type StatusParts } from './status.ts'

/** The answer to `/processes`: process ids. */
interface Processes {
  readonly serving: number
  readonly supervisor: number
}

interface Control {
  close(): void
}

/** Starts listening. Rejects where the metrics address can't be had. */
export async function startControl(parts: StatusParts): Promise<Control> {
  const { start } = parts
  const status = new Status(parts)
  makeRuntimeDirectory()
  removeDeadSockets(start.mountpoint)
  await removeAllDeadSockets()
  const socket = controlSocket(start.mountpoint, process.ppid, start.mount.device)
  const servers: http.Server[] = []

  const control = http.createServer((request, response) => {
    if (request.url === '/processes') {
      const processes: Processes = { serving: process.pid, supervisor: process.ppid }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(processes))
      return
    }
    if (request.url !== '/status') {
      response.writeHead(404).end('unknown request')
      return
    }
    status.report().then(
      (report) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(report)),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await listening(control, { path: socket })
  fs.chmodSync(socket, 0o600)
  servers.push(control)

  if (start.metrics !== undefined) {
    const metrics = new Metrics(status, parts)
    const server = http.createServer((request, response) => {
      if (request.url?.split('?', 1)[0] !== '/metrics') {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('metrics are at /metrics\n')
        return
      }
      if (request.method !== 'GET' && request.method !== 'HEAD') {
        response.writeHead(405, { allow: 'GET, HEAD' }).end()
        return
      }
      metrics.text().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      )
    })
    await listening(server, start.metrics)
    servers.push(server)
  }

  return {
    close() {
      for (const server of servers) {
        server.close()
        server.closeAllConnections()
      }
      fs.rmSync(socket, { force: true })
    },
  }
}

function listening(server: http.Server, where: { path: string } | { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const name = 'port' in where ? `${where.host}:${where.port}` : where.path
      reject(new Error(`cannot listen on ${name}: ${error.code ?? error.message}`))
    })
    server.listen(where, resolve)
  })
}
