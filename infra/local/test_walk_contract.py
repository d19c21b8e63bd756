"""Tests walk_contract.py itself.

Needs RECEIVER_CERTIFICATE and RECEIVER_KEY of the local stack in the environment.
"""

import contextlib
import io
import socket
import ssl
import struct
import unittest

import walk_contract


class TheReceiver(unittest.TestCase):
    def test_prints_nothing_and_has_no_fault_if_a_client_hangs_up(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), walk_contract.Receiver() as receiver:
            receiver.server.daemon_threads = False
            for hang_up in (self.reset, self.reset_after_the_handshake, self.distrust):
                with self.subTest(hang_up.__name__):
                    hang_up(receiver.server.server_address)
            receiver.server.server_close()  # Waits for the threads of all requests.
        self.assertEqual(receiver.faults, [])
        self.assertEqual(errors.getvalue(), "")

    def test_prints_nothing_but_keeps_another_fault(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), walk_contract.Receiver() as receiver:
            receiver.server.daemon_threads = False
            with self.trusting(receiver.server.server_address) as connection:
                connection.sendall(b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n")
                self.assertEqual(connection.recv(1), b"")
            receiver.server.server_close()  # Waits for the threads of all requests.
        self.assertEqual([type(fault) for fault in receiver.faults], [ValueError])
        self.assertEqual(errors.getvalue(), "")

    @staticmethod
    def trusting(address: tuple[str, int]) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(address))

    @staticmethod
    def abort(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    def reset(self, address: tuple[str, int]) -> None:
        self.abort(socket.create_connection(address))

    def reset_after_the_handshake(self, address: tuple[str, int]) -> None:
        self.abort(self.trusting(address))

    def distrust(self, address: tuple[str, int]) -> None:
        with socket.create_connection(address) as connection, self.assertRaises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(connection, server_hostname="localhost")


if __name__ == "__main__":
    unittest.main(warnings="ignore")  # `socketserver` does not close a connection that was reset before it is accepted.
