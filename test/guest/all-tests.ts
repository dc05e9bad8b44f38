/** The tests of the guest, in the order in which they run. */
import './machine.guest.ts'
import './commands-dax.guest.ts'
import './mount-dax.guest.ts'
import './mount-node.guest.ts'
// Not yet './mount-numa.guest.ts': on a busy machine workers of the mount are not seen to come to their clients' nodes.
import './placement.guest.ts'
import './dax.guest.ts'
import './replicas.guest.ts'
import './by-node.guest.ts'
import './plugged.guest.ts'
