/** sd_notify(3): tells systemd that the service is ready. Does nothing elsewhere. */
import { sendDatagram } from '../linux/datagram.ts'

/**
 * Says that this process is the service, is ready, and does what `status` says. It sends the message itself, because systemd
 * goes by the sender's process id: a helper program (systemd-notify) may have ended before it is looked up. MAINPID is for
 * `mount --daemon`, where another process was started as the service; then the unit needs NotifyAccess=all.
 */
export function notifyReady(status: string): void {
  const socket = process.env.NOTIFY_SOCKET
  // Also vsock addresses exist, for the first process of a virtual machine only.
  if (socket === undefined || !/^[/@]/.test(socket)) return
  sendDatagram(socket, `MAINPID=${process.pid}\nREADY=1\nSTATUS=${status.replaceAll('\n', ' ')}`, true)
}
