#!/bin/sh
# Say hello, then which kernel answers: under gVisor it is not the host's.
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hello from a Miren sandbox!"
cat /proc/version
hostname
