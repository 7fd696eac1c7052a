# Said on the console before the machine goes.
echo "good-bye from $MANOR_VNFC" > /dev/console
